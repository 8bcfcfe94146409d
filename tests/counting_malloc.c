/* Preloaded (LD_PRELOAD), counts what a thread asks the C library's heap for while it does not hold Python's lock: in
 * kwsrt, all that happens inside a decision. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static volatile long counted;
static int (*holds_lock)(void);

void counting_start(void)
{
    counted = 0;
    holds_lock = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Check");
}

long counting_stop(void)
{
    holds_lock = NULL;
    return counted;
}

static void count(void)
{
    if (holds_lock != NULL && !holds_lock()) {
        ++counted;
    }
}

/* glibc's own entry points, so that nothing here allocates. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t members, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t members, size_t size)
{
    count();
    return __libc_calloc(members, size);
}

void *realloc(void *block, size_t size)
{
    count();
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    count();
    *block = __libc_memalign(alignment, size);
    return *block == NULL ? 12 : 0; /* ENOMEM */
}
