/*
 * containerd-shim-runc-v2 for what containerd 1.6 asks of it most: a program that starts at once instead of one in Go.
 *
 *   shim ... start    in a sandbox's bundle: a real shim is started, which serves the socket that it inherits; in the
 *                     bundle of a further container of the pod: the same shim serves it. In either case the address is
 *                     written to `address` and printed. Sockets are in `s` beside containerd's own.
 *   shim ... delete   of a container that was deleted in good order, after which its shim is always gone: nothing is
 *                     left but to say so (a task.DeleteResponse: pid, exit status 137, now)
 *
 * PROCESSORS is how many of them a shim uses at once. Its own start asks for four, and on a machine with two that costs a
 * third of all that a shim does: it mostly waits, and threads of Go look for work.
 *
 * Everything else, and whatever is not as expected, is for the real shim, SHIM. NOTES is where hawser-runtime has its
 * notes. Source: containerd's runtime/v2/README.md.
 */

#include "bare.h"

enum { SIZE = 1 << 18, LONGEST = 256 };
enum { AF_UNIX = 1, SOCK_STREAM = 1, ENOENT = -2, KILLED = 128 + 9, SIGCHLD = 17, F_SETFD = 2, MOST = 512 };

struct named { /* sockaddr_un */
	unsigned short family;
	char name[108];
};

static const char scheme[] = "unix://";
static char text[SIZE], path[4 * LONGEST], address[LONGEST];
static char **variables;

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
	static struct named to = { AF_UNIX, { 0 } };
	const char *from = address + length(scheme);
	long n = length(from), fd = call(SOCKET, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0), failed;

	if (n <= 0 || n >= (long)sizeof to.name || fd < 0)
		return 0;
	while (n--)
		to.name[n] = from[n];
	failed = call(CONNECT, fd, P(&to), sizeof to, 0, 0);
	call(CLOSE, fd, 0, 0, 0, 0);
	return !failed;
}

/* Writes the address down. What is left where that fails would keep the real shim from doing so. */
static int notes_address(void)
{
	long fd = call(OPENAT, AT_FDCWD, P(".address"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666, 0), n = length(address);

	if (fd < 0)
		return 0;
	n -= call(WRITE, fd, P(address), n, 0, 0);
	call(CLOSE, fd, 0, 0, 0, 0);
	if (!n && !call(RENAMEAT, AT_FDCWD, P(".address"), AT_FDCWD, P("address"), 0))
		return 1;
	call(UNLINKAT, AT_FDCWD, P(".address"), 0, 0, 0);
	return 0;
}

static void tell_address(void)
{
	say(1, address);
	leave(0);
}

/* The pod's further container: only where its sandbox's shim answers. */
static void join(const char *sandbox, long size)
{
	long n = append(append(append(0, "../", 3), sandbox, size), "/address", 8);

	if (n >= (long)sizeof path - 1 || load(path, address, sizeof address) < 0)
		return;
	for (n = 0; scheme[n]; n++)
		if (address[n] != scheme[n])
			return;
	if (connects() && notes_address())
		tell_address();
}

/* As containerd's shims have it: one more than who starts them is likely to be killed. */
static void yield_to_parent(void)
{
	char digits[16], *at = digits + sizeof digits;
	long score = 0, negative, n, fd;

	if (load("/proc/self/oom_score_adj", text, 16) < 0)
		return;
	negative = text[0] == '-';
	for (n = negative; text[n] >= '0' && text[n] <= '9'; n++)
		score = score * 10 + text[n] - '0';
	score = (negative ? -score : score) + 1;
	negative = score < 0;
	if (negative)
		score = -score;
	do
		*--at = (char)('0' + score % 10);
	while (score /= 10);
	if (negative)
		*--at = '-';
	fd = call(OPENAT, AT_FDCWD, P("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC, 0, 0);
	call(WRITE, fd, P(at), digits + sizeof digits - at, 0, 0);
	call(CLOSE, fd, 0, 0, 0, 0);
}

static void become_shim(long listener, const char *namespace, const char *id, const char *server)
{
	static const char *words[] = { SHIM, "-namespace", 0, "-id", 0, "-address", 0, 0 };
	static char *settings[MOST] = { "GOMAXPROCS=" PROCESSORS };
	long null = call(OPENAT, AT_FDCWD, P("/dev/null"), O_RDWR, 0, 0), n;

	words[2] = namespace;
	words[4] = id;
	words[6] = server;
	for (n = 0; variables[n] && n < MOST - 2; n++)
		settings[n + 1] = variables[n];
	yield_to_parent();
	call(SETPGID, 0, 0, 0, 0, 0);
	if (listener == 3)
		call(FCNTL, 3, F_SETFD, 0, 0, 0);
	else
		call(DUP3, listener, 3, 0, 0, 0);
	for (n = 0; n < 3; n++)
		call(DUP3, null, n, 0, 0, 0);
	if (null > 3)
		call(CLOSE, null, 0, 0, 0, 0);
	call(EXECVE, P(SHIM), P(words), P(settings), 0, 0);
	leave(125);
}

/* A sandbox: only where nothing is that its socket would be. server: containerd's own socket. */
static void found(const char *namespace, const char *id, const char *server)
{
	static struct named at = { AF_UNIX, { 0 } };
	long folder = 0, n, listener, mask, child;

	for (n = 0; server[n]; n++)
		if (server[n] == '/')
			folder = n;
	n = append(append(append(0, server, folder), "/s/", 3), id, length(id) < 32 ? length(id) : 32);
	if (!folder || n >= (long)sizeof at.name)
		return;
	for (; n >= 0; n--) {
		at.name[n] = path[n];
		address[length(scheme) + n] = path[n];
	}
	for (n = 0; scheme[n]; n++)
		address[n] = scheme[n];
	listener = call(SOCKET, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0);
	mask = call(UMASK, 0177, 0, 0, 0, 0);
	n = call(BIND, listener, P(&at), sizeof at, 0, 0);
	call(UMASK, mask, 0, 0, 0, 0);
	if (n)
		return;
	/* The last that can fail is the shim's own process: nobody would know of one without an address. */
	child = call(LISTEN, listener, 4096, 0, 0, 0) || !notes_address() ? -1 : call(CLONE, SIGCHLD, 0, 0, 0, 0);
	if (!child)
		become_shim(listener, namespace, id, server);
	if (child > 0)
		tell_address();
	call(UNLINKAT, AT_FDCWD, P(at.name), 0, 0, 0);
}

static void start(const char *namespace, const char *id, const char *server)
{
	const char *sandbox;
	long size, n, own = 1;

	if (load("config.json", text, SIZE) < 0 || find("\"io.containerd.runc.v2.group\":\"", &sandbox) ||
	    !(size = find("\"io.kubernetes.cri.sandbox-id\":\"", &sandbox)))
		return;
	for (n = 0; n < size; n++) {
		if (sandbox[n] == '/')
			return;
		own = own && id[n] == sandbox[n];
	}
	if (own && !id[size])
		found(namespace, id, server);
	else
		join(sandbox, size);
}

static char *number(char *to, unsigned long value)
{
	for (; value > 127; value >>= 7)
		*to++ = (char)(value | 128);
	*to++ = (char)value;
	return to;
}

/* Whether `above``root`/`namespace``between``id` may be there. */
static int there(const char *above, const char *root, long size, const char *namespace, const char *between, const char *id)
{
	long n = append(append(append(0, above, length(above)), root, size), "/", 1), status[64];

	n = append(append(n, namespace, length(namespace)), between, length(between));
	n = append(n, id, length(id));
	return n >= (long)sizeof path - 1 || call(NEWFSTATAT, AT_FDCWD, P(path), P(status), 0, 0) != ENOENT;
}

/* Only where the runtime knows nothing of the container any more, nor hawser-runtime, which has mounts to end. */
static void delete(const char *namespace, const char *id)
{
	static const char *const kept[] = { "/", "/.inside/", "/.roots/", "/.hooks/" };
	char answer[64], *to = answer, *begun, pid_text[32];
	const char *root;
	unsigned long now[2], pid = 0;
	long size = 0, n;

	if (load("options.json", text, SIZE) < 0 || !(size = find("\"root\":\"", &root)) ||
	    there("", root, size, namespace, "/", id))
		return;
	for (n = 0; n < (long)(sizeof kept / sizeof *kept); n++)
		if (there(NOTES, root, size, namespace, kept[n], id))
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

static void begin(char **arguments, char **environment)
{
	const char *id = "", *namespace = "", *server = "", *verb = "";
	char **at;

	variables = environment;
	for (at = arguments + (arguments[0] != 0); *at; at++) {
		if (same(*at, "-id") && at[1])
			id = *++at;
		else if (same(*at, "-namespace") && at[1])
			namespace = *++at;
		else if (same(*at, "-address") && at[1])
			server = *++at;
		else if (same(*at, "-publish-binary") && at[1])
			at++;
		else if (same(*at, "-debug"))
			break;
		else if (**at != '-')
			verb = *at;
	}
	if (*id && *namespace && same(verb, "start"))
		start(namespace, id, server);
	if (*id && *namespace && same(verb, "delete"))
		delete(namespace, id);
	call(EXECVE, P(SHIM), P(arguments), P(environment), 0, 0);
	say(2, "hawser: " SHIM " cannot be run\n");
	leave(125);
}
