/*
 * Executes crun so that it starts at once, on any machine.
 *
 * crun runs containers from a file that none of them can write to (CVE-2019-5736): each time it mounts itself again,
 * read-only, and executes that, which is half of the time that it takes. Here it gets such a mount beforehand, one that
 * is nowhere in the file system, and is told so. Where the kernel does not have that (before 5.12), crun does it itself.
 *
 * Where /sys/fs/cgroup/unified is cgroup v2 beside v1 and has a controller (hugetlb, say), crun refuses to run. Nothing
 * of that controller is used here: crun gets a mount namespace in which that directory, HIDDEN, is empty, and works
 * with v1. Nobody else sees a difference, and what is mounted in shared places still reaches everybody. `start` needs no
 * cgroups: its containers have theirs.
 *
 * What crun executes in a container that runs has crun's own oom_score_adj, whatever the process's file says (1.8; runc
 * does as it says): then the application would go first when memory is short. So crun gets that score beforehand.
 *
 * CRUN is the real crun's path; HIDDEN is "" where nothing is to be hidden.
 */

#include "bare.h"

enum { OPEN_TREE_CLONE = 1, RDONLY = 1, CLONE_NEWNS = 0x20000, MS_REC = 0x4000, MS_PRIVATE = 0x40000, DETACH = 2 };
enum { MOST = 512 };

static char *settings[MOST], text[1 << 18];
static unsigned long read_only[4] = { RDONLY }; /* struct mount_attr */

/* Takes on the score of the process that the file says, for all that follows. */
static void keep_score(const char *file)
{
	const char *key = "\"oomScoreAdj\":", *at, *end;
	long n, fd;

	if (load(file, text, sizeof text) < 0)
		return;
	for (at = text; *at; at++) {
		for (n = 0; key[n] && at[n] == key[n]; n++)
			;
		if (key[n])
			continue;
		for (end = at += n; *end == '-' || (*end >= '0' && *end <= '9'); end++)
			;
		fd = call(OPENAT, AT_FDCWD, P("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC, 0, 0);
		if (fd >= 0)
			call(WRITE, fd, P(at), end - at, 0, 0);
		call(CLOSE, fd, 0, 0, 0, 0);
		return;
	}
}

static void hide_v2(void)
{
	if (!call(UNSHARE, CLONE_NEWNS, 0, 0, 0, 0) &&
	    !call(MOUNT, P("none"), P("/sys/fs/cgroup"), 0, MS_REC | MS_PRIVATE, 0))
		call(UMOUNT2, P(HIDDEN), DETACH, 0, 0, 0);
}

/* Where a word is among arguments; their end when it is not. */
static char **word(char **arguments, const char *wanted)
{
	while (*arguments && !same(*arguments, wanted))
		arguments++;
	return arguments;
}

static void begin(char **arguments, char **environment)
{
	char **process = word(word(arguments, "exec"), "--process");
	long count = 0, tree;

	if (*process && process[1])
		keep_score(process[1]);
	if (*HIDDEN && !*word(arguments, "start"))
		hide_v2(); /* where that fails, crun says what it does not like */
	while (environment[count] && count < MOST - 2) {
		settings[count] = environment[count];
		count++;
	}
	tree = call(OPEN_TREE, AT_FDCWD, P(CRUN), OPEN_TREE_CLONE | O_CLOEXEC, 0, 0);
	if (tree >= 0 && !environment[count] &&
	    !call(MOUNT_SETATTR, tree, P(""), AT_EMPTY_PATH, P(read_only), sizeof read_only)) {
		settings[count] = "_LIBCONTAINER_CLONED_BINARY=1";
		call(EXECVEAT, tree, P(""), P(arguments), P(settings), AT_EMPTY_PATH);
	}
	call(EXECVE, P(CRUN), P(arguments), P(environment), 0, 0);
	say(2, "hawser: " CRUN " cannot be run\n");
	leave(125);
}
