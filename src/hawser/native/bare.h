/*
 * What programs need that are built without a C library: system calls, how a program begins, a few functions.
 *
 * Each defines `void begin(char **arguments, char **environment)`, which does not return. For gcc, clang and tcc.
 */

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_CLOEXEC = 02000000, AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000 };
enum { OPEN_TREE = 428, MOUNT_SETATTR = 442 }; /* the same on all machines */

/* call(number, ...) is a system call; a program starts with its stack: the number of arguments, these, the environment */
#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, SOCKET = 41, CONNECT = 42, SENDTO = 44, SHUTDOWN = 48, BIND = 49, LISTEN = 50 };
enum { SETSOCKOPT = 54, CLONE = 56, EXECVE = 59, EXIT = 60, FCNTL = 72, UMASK = 95, SETPGID = 109, MOUNT = 165 };
enum { UMOUNT2 = 166, CLOCK_GETTIME = 228, OPENAT = 257, NEWFSTATAT = 262, UNLINKAT = 263, RENAMEAT = 264 };
enum { UNSHARE = 272, DUP3 = 292, EXECVEAT = 322 };
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call enter\n"
	".globl call\ncall:\n mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
	" mov %r8, %r10\n mov %r9, %r8\n syscall\n ret\n");
#elif defined(__aarch64__)
enum { DUP3 = 24, FCNTL = 25, UNLINKAT = 35, RENAMEAT = 38, UMOUNT2 = 39, MOUNT = 40, OPENAT = 56, CLOSE = 57 };
enum { READ = 63, WRITE = 64, NEWFSTATAT = 79, EXIT = 93, UNSHARE = 97, CLOCK_GETTIME = 113, SETPGID = 154 };
enum { UMASK = 166, SOCKET = 198, BIND = 200, LISTEN = 201, CONNECT = 203, SENDTO = 206, SETSOCKOPT = 208 };
enum { SHUTDOWN = 210, CLONE = 220, EXECVE = 221, EXECVEAT = 281 };
__asm__(".globl _start\n_start:\n mov x0, sp\n b enter\n"
	".globl call\ncall:\n mov x8, x0\n mov x0, x1\n mov x1, x2\n mov x2, x3\n mov x3, x4\n mov x4, x5\n svc 0\n ret\n");
#else
#error "no system call numbers for this machine"
#endif

extern long call(long number, long a, long b, long c, long d, long e);
#define P(pointer) ((long)(pointer))

static void begin(char **arguments, char **environment);

void enter(long *stack)
{
	begin((char **)(stack + 1), (char **)(stack + 1) + stack[0] + 1);
}

static void leave(int status)
{
	call(EXIT, status, 0, 0, 0, 0);
}

static long length(const char *text)
{
	long n = 0;
	while (text[n])
		n++;
	return n;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static void say(int fd, const char *text)
{
	call(WRITE, fd, P(text), length(text), 0, 0);
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
