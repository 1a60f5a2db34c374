/*
 * The CNI plugins that containerd runs for every sandbox: `hawser`, which asks the node agent, and `loopback`.
 *
 * The protocol is told in hawser/node/network/plugin.py: to SOCKET five fields, each ended by NUL, then standard input;
 * the answer is the exit status as one digit, then what to print. DEL succeeds without an agent.
 *
 * VERSIONS: what to print for VERSION; UNREACHABLE: when the agent does not answer; both are JSON.
 */

#include "bare.h"

enum { SIZE = 1 << 18, AF_UNIX = 1, SOCK_STREAM = 1, SOL_SOCKET = 1, RCVTIMEO = 20, SNDTIMEO = 21, SHUT_WR = 1 };
enum { NOSIGNAL = 0x4000 };

static char text[SIZE];
static char **variables;

static const char *get(const char *name)
{
	char **at;
	long n;

	for (at = variables; *at; at++) {
		for (n = 0; name[n] && name[n] == (*at)[n]; n++)
			;
		if (!name[n] && (*at)[n] == '=')
			return *at + n + 1;
	}
	return "";
}

/* Whether the agent was sent what it is asked: the fields, then standard input. */
static int asks(long agent)
{
	static const char *const fields[] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS" };
	long n, got;
	int i;

	for (i = 0; i < 5; i++) {
		n = length(get(fields[i])) + 1;
		if (call(SENDTO, agent, P(get(fields[i])), n, NOSIGNAL, 0) != n)
			return 0;
	}
	while ((got = call(READ, 0, P(text), SIZE, 0, 0)) > 0)
		for (n = 0; n < got;) {
			long sent = call(SENDTO, agent, P(text + n), got - n, NOSIGNAL, 0);
			if (sent <= 0)
				return 0;
			n += sent;
		}
	return !got && !call(SHUTDOWN, agent, SHUT_WR, 0, 0, 0);
}

static void ask(int seconds)
{
	static struct {
		unsigned short family;
		char name[108];
	} to = { AF_UNIX, SOCKET_PATH };
	long time[2] = { seconds, 0 }, agent = call(SOCKET, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0), size = 0, n = -1;

	call(SETSOCKOPT, agent, SOL_SOCKET, RCVTIMEO, P(time), sizeof time);
	call(SETSOCKOPT, agent, SOL_SOCKET, SNDTIMEO, P(time), sizeof time);
	if (call(CONNECT, agent, P(&to), sizeof to, 0, 0) || !asks(agent))
		return;
	while (size < SIZE && (n = call(READ, agent, P(text + size), SIZE - size, 0, 0)) > 0)
		size += n;
	if (n || !size)
		return;
	for (n = 1; n < size;) {
		long written = call(WRITE, 1, P(text + n), size - n, 0, 0);
		if (written <= 0)
			break;
		n += written;
	}
	leave(text[0] - '0');
}

/* containerd runs this beside every network, only to bring up lo: the agent has done so when it answered ADD. */
static void answer_loopback(const char *command)
{
	if (same(command, "ADD")) {
		say(1, "{\"cniVersion\":\"0.3.1\",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\",\"sandbox\":\"");
		say(1, get("CNI_NETNS"));
		say(1, "\"}],\"ips\":[{\"version\":\"4\",\"address\":\"127.0.0.1/8\",\"interface\":0}]}\n");
	}
	leave(0);
}

static void begin(char **arguments, char **environment)
{
	const char *command, *name = arguments[0], *at;

	variables = environment;
	command = get("CNI_COMMAND");
	if (same(command, "VERSION")) {
		say(1, VERSIONS);
		leave(0);
	}
	for (at = name; *at; at++)
		if (*at == '/')
			name = at + 1;
	if (same(name, "loopback"))
		answer_loopback(command);
	ask(same(command, "DEL") ? 10 : 60);
	if (same(command, "DEL"))
		leave(0);
	say(1, UNREACHABLE);
	leave(1);
}
