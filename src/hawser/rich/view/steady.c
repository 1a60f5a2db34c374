/*
 * libhawser-steady.so: waits by clocks that libfaketime leaves alone.
 *
 * libfaketime changes the wall clock of an application, and we have it leave the monotonic clock as it is. But its
 * clock_nanosleep(2) takes the shift off whatever moment a program waits for, be it one of that other clock: such a wait
 * then fails or never ends (0.9.10; Python's time.sleep() for one). Loaded before libfaketime, this library passes those
 * waits to the C library. The rules of shim.c hold here, too.
 */

typedef int nanosleeper(int clock, int flags, const void *request, void *remain);

#define WEAK __attribute__((weak))
enum { CLOCK_REALTIME = 0, TIMER_ABSTIME = 1, RTLD_LAZY = 1, RTLD_NOLOAD = 4 };
#if defined(__x86_64__)
enum { SYS_CLOCK_NANOSLEEP = 230 };
#elif defined(__aarch64__)
enum { SYS_CLOCK_NANOSLEEP = 115 };
#else
#error "no system call numbers for this machine"
#endif
#define RTLD_NEXT ((void *)-1L)

extern long syscall(long number, ...);
extern int *__errno_location(void);
extern void *dlopen(const char *name, int flags) WEAK;
extern void *dlsym(void *handle, const char *name) WEAK;

int clock_nanosleep(int clock, int flags, const void *request, void *remain)
{
	static nanosleeper *volatile library, *volatile next;
	int *error = __errno_location(), before = *error, code;
	if (clock == CLOCK_REALTIME || !(flags & TIMER_ABSTIME)) {
		if (!next && dlsym)
			next = (nanosleeper *)dlsym(RTLD_NEXT, "clock_nanosleep");
		if (next)
			return next(clock, flags, request, remain);
	} else if (!library && dlopen && dlsym) {
		void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
		library = libc ? (nanosleeper *)dlsym(libc, "clock_nanosleep") : (nanosleeper *)0;
	}
	if (library) /* where a thread can be cancelled, which it can not in a bare system call */
		return library(clock, flags, request, remain);
	code = syscall(SYS_CLOCK_NANOSLEEP, clock, flags, request, remain) < 0 ? *error : 0;
	*error = before;
	return code;
}
