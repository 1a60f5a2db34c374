#!/usr/bin/python3
"""A small application of the kind that grew up on a virtual machine.

It reads a configuration file in /etc, writes its access log to /var/log, keeps state in /var/lib and shows what the
batch job beside it has done. It expects cron, syslog and sshd to be there, and knows nothing of containers.
"""

import argparse
import configparser
import http.server
import os
import pathlib
import pwd
import signal
import socket
import sys
import syslog
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """GET / tells about the machine, /healthz says ok, POST /crash and /exit/N end the process."""

    server_version = "legacy-app/1"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, "ok\n")
        elif self.path == "/":
            self.answer(200, self.server.page())
        else:
            self.answer(404, "no such page\n")

    def do_POST(self):
        if self.path.startswith("/exit/") and self.path[6:].isdigit():
            self.answer(200, "bye\n")
            os._exit(int(self.path[6:]) & 255)
        self.answer(404, "no such page\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *args):
        self.server.log.write(f"{self.log_date_time_string()} {self.client_address[0]} {form % args}\n")
        self.server.log.flush()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, config):
        self.settings = config["server"]
        self.log = pathlib.Path(self.settings["log"]).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the server is
        self.started = time.time()
        super().__init__(("", self.settings.getint("port")), Handler)

    def page(self):
        batch = pathlib.Path(self.settings["state"], "batch")
        runs = batch.read_text().splitlines() if batch.exists() else []
        lines = {
            "greeting": self.settings["greeting"],
            "host": socket.gethostname(),
            "pid 1": pathlib.Path("/proc/1/comm").read_text().strip(),
            "user": str(os.getuid()),
            "uptime": f"{time.time() - self.started:.0f} s",
            "batch runs": f"{len(runs)}, last {runs[-1] if runs else 'never'}",
        }
        return "".join(f"{name}: {value}\n" for name, value in lines.items())


def become(name):
    """Gives up root for the user of the configuration."""
    user = pwd.getpwnam(name)
    if os.getuid() == 0:
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="/etc/legacy-app/legacy-app.conf")
    config = configparser.ConfigParser()
    path = parser.parse_args().config
    if not config.read(path) or "server" not in config:
        sys.exit(f"legacy-app: no section [server] in {path}")
    server = Server(config)
    become(config["server"]["user"])

    def stop(number, _frame):
        print(f"legacy-app: {signal.Signals(number).name}, stopping", flush=True)
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    syslog.openlog("legacy-app", syslog.LOG_PID)
    syslog.syslog("started")
    print(f"legacy-app: listening on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    print("legacy-app: stopped", flush=True)


if __name__ == "__main__":
    main()
