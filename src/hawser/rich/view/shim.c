/*
 * libhawser-view.so: what a process asks its C library instead of reading /proc, answered as lxcfs answers it.
 *
 * lxcfs shows a container's limits in files. sysconf(3), get_nprocs(3), sched_getaffinity(2) and sysinfo(2) do not
 * read them. Loaded before the C library (ld.so(8), /etc/ld.so.preload), this library has the same numbers for those
 * calls, read from the same files, so both always agree and follow a change of limits within a second. Where the files
 * tell nothing (a chroot, a crashed lxcfs) the answer is the kernel's.
 *
 * Rules for changes, so that it loads into anything: no headers, no library to link with, no thread-local storage, no
 * versioned symbols, nothing at load time. What only some C libraries have is a weak symbol. Works with glibc and musl,
 * and compiles with gcc, clang and tcc.
 */

typedef unsigned long size;

enum { O_RDONLY = 0, O_CLOEXEC = 02000000 };
enum { SC_NPROCESSORS_CONF = 83, SC_NPROCESSORS_ONLN = 84, SC_PHYS_PAGES = 85, SC_AVPHYS_PAGES = 86, SC_PAGESIZE = 30 };
enum { ENOSYS = 38 };
#if defined(__x86_64__)
enum { SYS_CLOCK_GETTIME = 228, SYS_GETAFFINITY = 204, SYS_GETCPU = 309, SYS_SYSINFO = 99, SYS_GETTID = 186 };
#elif defined(__aarch64__)
enum { SYS_CLOCK_GETTIME = 113, SYS_GETAFFINITY = 123, SYS_GETCPU = 168, SYS_SYSINFO = 179, SYS_GETTID = 178 };
#else
#error "no system call numbers for this machine"
#endif
#define CLOCK_MONOTONIC_COARSE 6
#define RTLD_NEXT ((void *)-1L)
#define WEAK __attribute__((weak))

extern long syscall(long number, ...);
extern int open(const char *path, int flags, ...);
extern long read(int fd, void *to, size count);
extern int close(int fd);
extern int *__errno_location(void);
extern void *dlsym(void *handle, const char *name) WEAK;
extern long __sysconf(int name) WEAK; /* glibc: the way back to its own without a search */
extern void *pthread_self(void) WEAK;

struct sysinfo { /* sysinfo(2), 64 bit */
	long uptime;
	unsigned long loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	unsigned short procs, pad;
	unsigned long totalhigh, freehigh;
	unsigned int mem_unit;
};

/* Up to `room` - 1 bytes of a file and a 0; their number, or -1. errno stays what it was. */
static long slurp(const char *path, char *to, long room)
{
	int *error = __errno_location(), before = *error, fd = open(path, O_RDONLY | O_CLOEXEC);
	long got = -1, n = 0;
	if (fd >= 0) {
		for (got = 0; got < room - 1 && (n = read(fd, to + got, room - 1 - got)) > 0; got += n)
			;
		close(fd);
		if (n < 0 || got == 0)
			got = -1;
		else
			to[got] = 0;
	}
	*error = before;
	return got;
}

static const char *number(const char *at, unsigned long *value)
{
	while (*at && (*at < '0' || *at > '9'))
		at++;
	for (*value = 0; *at >= '0' && *at <= '9'; at++)
		*value = *value * 10 + (*at - '0');
	return at;
}

static long seconds(void)
{
	long time[2];
	return syscall(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC_COARSE, time) == 0 ? time[0] : 0;
}

/* As many as a quota on cgroup v2 is worth, rounded up as lxcfs does it; 0 for no quota. lxcfs looks there since 7.0. */
static int quota(void)
{
	char text[64];
	const char *at;
	unsigned long time, period;
	if (slurp("/sys/fs/cgroup/cpu.max", text, sizeof text) < 0 || *text < '0' || *text > '9')
		return 0;
	at = number(text, &time);
	number(at, &period);
	return period && time ? (time + period - 1) / period : 0;
}

/* How many processors the container has; 0 when its files do not tell. Read at most once a second. */
static int processors(void)
{
	static volatile long read_at = -1;
	static volatile int known;
	long now = seconds();
	if (read_at != now) {
		char text[512];
		const char *at = text;
		int count = 0, allowed;
		if (slurp("/sys/devices/system/cpu/online", text, sizeof text) > 0)
			while (*at >= '0' && *at <= '9') { /* 0-2,5 */
				unsigned long first, last;
				at = number(at, &first);
				last = first;
				if (*at == '-')
					at = number(at, &last);
				count += last - first + 1;
				if (*at == ',')
					at++;
			}
		if (count && (allowed = quota()) && allowed < count)
			count = allowed;
		known = count;
		read_at = now;
	}
	return known;
}

/* The fewest this process was told of: how large it may have made its tables of processors. */
static volatile int told;

static int tell(int count)
{
	if (told == 0 || count < told)
		told = count;
	return count;
}

static int memory(const char *name, unsigned long *bytes)
{
	char text[4096], *at = text;
	if (slurp("/proc/meminfo", text, sizeof text) < 0)
		return 0;
	while (*at) {
		const char *word = name;
		while (*word && *at == *word)
			at++, word++;
		if (!*word && *at == ':') {
			number(at, bytes);
			*bytes *= 1024;
			return 1;
		}
		while (*at && *at++ != '\n')
			;
	}
	return 0;
}

static long system_sysconf(int name)
{
	long (*next)(int);
	if (__sysconf)
		return __sysconf(name);
	next = dlsym ? (long (*)(int))dlsym(RTLD_NEXT, "sysconf") : 0;
	if (next)
		return next(name);
	*__errno_location() = ENOSYS;
	return -1;
}

long sysconf(int name)
{
	unsigned long bytes;
	int count;
	switch (name) {
	case SC_NPROCESSORS_CONF:
	case SC_NPROCESSORS_ONLN:
		if ((count = processors()))
			return tell(count);
		break;
	case SC_PHYS_PAGES:
		if (memory("MemTotal", &bytes))
			return bytes / system_sysconf(SC_PAGESIZE);
		break;
	case SC_AVPHYS_PAGES:
		if (memory("MemFree", &bytes))
			return bytes / system_sysconf(SC_PAGESIZE);
	}
	return system_sysconf(name);
}

int get_nprocs(void) { return sysconf(SC_NPROCESSORS_ONLN); }
int get_nprocs_conf(void) { return sysconf(SC_NPROCESSORS_CONF); }
long get_phys_pages(void) { return sysconf(SC_PHYS_PAGES); }
long get_avphys_pages(void) { return sysconf(SC_AVPHYS_PAGES); }

/* The first processors of a set, as many as the container has. A smaller set stays as it is. */
static void narrow(unsigned char *set, size bytes)
{
	int left = processors();
	size i;
	if (!left)
		return;
	tell(left);
	for (i = 0; i < bytes * 8; i++)
		if (set[i / 8] & 1 << i % 8 && left-- <= 0)
			set[i / 8] &= ~(1 << i % 8);
}

static long affinity(long thread, size bytes, void *set)
{
	long got = syscall(SYS_GETAFFINITY, thread, bytes, set);
	size i;
	if (got < 0)
		return got;
	for (i = got; i < bytes; i++) /* as the C libraries do */
		((unsigned char *)set)[i] = 0;
	narrow(set, got);
	return 0;
}

int sched_getaffinity(int thread, size bytes, void *set) { return affinity(thread, bytes, set); }

int pthread_getaffinity_np(void *thread, size bytes, void *set)
{
	int (*next)(void *, size, void *), *error = __errno_location(), before = *error, code;
	if (pthread_self && thread == pthread_self()) {
		code = affinity(syscall(SYS_GETTID), bytes, set) < 0 ? *error : 0;
		*error = before;
		return code;
	}
	next = dlsym ? (int (*)(void *, size, void *))dlsym(RTLD_NEXT, "pthread_getaffinity_np") : 0;
	if (!next)
		return ENOSYS;
	code = next(thread, bytes, set);
	if (code == 0)
		narrow(set, bytes);
	return code;
}

/* Never a number that a table of as many processors as the process was told of has no place for. */
int sched_getcpu(void)
{
	unsigned int cpu;
	if (syscall(SYS_GETCPU, &cpu, (void *)0, (void *)0) < 0)
		return -1;
	return told ? cpu % told : cpu;
}

int sysinfo(struct sysinfo *info)
{
	long code = syscall(SYS_SYSINFO, info);
	unsigned long bytes, whole, part, unit;
	char text[256];
	const char *at = text;
	int i;
	if (code < 0)
		return code;
	unit = info->mem_unit ? info->mem_unit : 1;
	if (memory("MemTotal", &bytes)) {
		info->totalram = bytes / unit;
		info->freeram = memory("MemFree", &bytes) ? bytes / unit : info->freeram;
		info->sharedram = memory("Shmem", &bytes) ? bytes / unit : info->sharedram;
		info->bufferram = memory("Buffers", &bytes) ? bytes / unit : info->bufferram;
		info->totalswap = memory("SwapTotal", &bytes) ? bytes / unit : info->totalswap;
		info->freeswap = memory("SwapFree", &bytes) ? bytes / unit : info->freeswap;
	}
	if (slurp("/proc/uptime", text, sizeof text) > 0) {
		number(text, &whole);
		info->uptime = whole;
	}
	if (slurp("/proc/loadavg", text, sizeof text) > 0) { /* 0.20 0.18 0.12 1/80 11206 */
		for (i = 0; i < 3; i++) {
			at = number(at, &whole);
			at = number(at, &part);
			info->loads[i] = (whole << 16) + (part << 16) / 100;
		}
		at = number(at, &whole);
		number(at, &whole);
		info->procs = whole;
	}
	return 0;
}
