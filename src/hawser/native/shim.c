/*
 * containerd-shim-runc-v2 for what containerd 1.6 asks of it most: a program that starts at once instead of one in Go.
 *
 *   shim ... start    in the bundle of a pod's further container: its sandbox's shim serves it, so that one's address is
 *                     written to `address` and printed
 *   shim ... delete   of a container that was deleted in good order, after which its shim is always gone: nothing is
 *                     left but to say so (a task.DeleteResponse: pid, exit status 137, now)
 *
 * Everything else, and whatever is not as expected, is for the real shim, SHIM. Source: containerd's runtime/v2/README.md.
 */

#include "bare.h"

enum { SIZE = 1 << 18, LONGEST = 256 };
enum { AF_UNIX = 1, SOCK_STREAM = 1, ENOENT = -2, KILLED = 128 + 9 };

static char text[SIZE], path[4 * LONGEST], address[LONGEST];

/* What is between `key` and the next quotation mark in `text`; its length, 0 for none. */
static long find(const char *key, const char **value)
{
	long wanted = length(key), n;
	const char *at;

	for (at = text; *at; at++) {
		for (n = 0; n < wanted && at[n] == key[n]; n++)
			;
		if (n < wanted)
			continue;
		*value = at + wanted;
		for (n = 0; (*value)[n] && (*value)[n] != '"'; n++)
			if ((*value)[n] == '\\')
				return 0;
		return (*value)[n] ? n : 0;
	}
	return 0;
}

/* Reads a whole file into `to`; its length, -1 when it is not there, empty or too long. */
static long load(const char *name, char *to, long size)
{
	long fd = call(OPENAT, AT_FDCWD, P(name), O_CLOEXEC, 0, 0), got = 0, n;

	if (fd < 0)
		return -1;
	while (got < size - 1 && (n = call(READ, fd, P(to + got), size - 1 - got, 0, 0)) > 0)
		got += n;
	call(CLOSE, fd, 0, 0, 0, 0);
	to[got] = 0;
	return got > 0 && got < size - 1 ? got : -1;
}

/* Appends to `path` at `n`; the new length, or one that is too long. */
static long append(long n, const char *part, long size)
{
	for (; size-- && n < (long)sizeof path - 1; n++)
		path[n] = *part++;
	path[n] = 0;
	return n;
}

static int connects(void)
{
	static struct {
		unsigned short family;
		char name[108];
	} to = { AF_UNIX };
	const char *from = address + length("unix://");
	long n = length(from), fd = call(SOCKET, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0), failed;

	if (n <= 0 || n >= (long)sizeof to.name || fd < 0)
		return 0;
	while (n--)
		to.name[n] = from[n];
	failed = call(CONNECT, fd, P(&to), sizeof to, 0, 0);
	call(CLOSE, fd, 0, 0, 0, 0);
	return !failed;
}

/* Only where the sandbox is another container, whose shim answers. */
static void start(const char *id)
{
	const char *sandbox, *scheme = "unix://";
	long size, n, same = 1, fd;

	if (load("config.json", text, SIZE) < 0 || find("\"io.containerd.runc.v2.group\":\"", &sandbox) ||
	    !(size = find("\"io.kubernetes.cri.sandbox-id\":\"", &sandbox)))
		return;
	for (n = 0; n < size; n++) {
		if (sandbox[n] == '/')
			return;
		same = same && id[n] == sandbox[n];
	}
	if (same)
		return;
	n = append(append(append(0, "../", 3), sandbox, size), "/address", 8);
	if (n >= (long)sizeof path - 1 || (size = load(path, address, sizeof address)) < 0)
		return;
	for (n = 0; scheme[n]; n++)
		if (address[n] != scheme[n])
			return;
	if (!connects())
		return;
	fd = call(OPENAT, AT_FDCWD, P(".address"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666, 0);
	if (fd < 0 || call(WRITE, fd, P(address), size, 0, 0) != size ||
	    call(RENAMEAT, AT_FDCWD, P(".address"), AT_FDCWD, P("address"), 0))
		return;
	say(1, address);
	leave(0);
}

static char *number(char *to, unsigned long value)
{
	for (; value > 127; value >>= 7)
		*to++ = (char)(value | 128);
	*to++ = (char)value;
	return to;
}

/* Only where the runtime knows nothing of the container any more. */
static void delete(const char *namespace, const char *id)
{
	char answer[64], *to = answer, *begun, pid_text[32];
	const char *root;
	unsigned long now[2], pid = 0;
	long size = 0, n, status[64];

	if (load("options.json", text, SIZE) < 0 || !(size = find("\"root\":\"", &root)))
		return;
	n = append(append(append(0, root, size), "/", 1), namespace, length(namespace));
	n = append(append(n, "/", 1), id, length(id));
	if (n >= (long)sizeof path - 1 || call(NEWFSTATAT, AT_FDCWD, P(path), P(status), 0, 0) != ENOENT)
		return;
	while (!call(UMOUNT2, P("rootfs"), 0, 0, 0, 0))
		;
	if (load("init.pid", pid_text, sizeof pid_text) > 0)
		for (n = 0; pid_text[n] >= '0' && pid_text[n] <= '9'; n++)
			pid = pid * 10 + (unsigned long)(pid_text[n] - '0');
	call(CLOCK_GETTIME, 0, P(now), 0, 0, 0);
	*to++ = 1 << 3;
	to = number(to, pid);
	*to++ = 2 << 3;
	to = number(to, KILLED);
	*to++ = 3 << 3 | 2;
	begun = to++;
	*to++ = 1 << 3;
	to = number(to, now[0]);
	*to++ = 2 << 3;
	to = number(to, now[1]);
	*begun = (char)(to - begun - 1);
	call(WRITE, 1, P(answer), to - answer, 0, 0);
	leave(0);
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static void begin(char **arguments, char **environment)
{
	const char *id = 0, *namespace = 0, *verb = "";
	char **at;

	for (at = arguments + (arguments[0] != 0); *at; at++) {
		if (same(*at, "-id") && at[1])
			id = *++at;
		else if (same(*at, "-namespace") && at[1])
			namespace = *++at;
		else if (**at != '-')
			verb = *at;
	}
	if (id && namespace && same(verb, "start"))
		start(id);
	if (id && namespace && same(verb, "delete"))
		delete(namespace, id);
	call(EXECVE, P(SHIM), P(arguments), P(environment), 0, 0);
	say(2, "hawser: " SHIM " cannot be run\n");
	leave(125);
}
