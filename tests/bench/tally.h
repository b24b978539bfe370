/* What the load generator counts, and how it reports it: included by load.c only. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum failure { REFUSED, STATUS, CUT, LATE, MALFORMED, KINDS };

static const char *const failures[] = {"refused", "status", "cut", "late", "malformed"};
static const uint64_t SECOND = 1000000000;

static struct {
    uint64_t measured, over;      /* when measuring begins and ends */
    uint64_t all, all_octets;     /* also outside of that */
    uint64_t octets, reopened, failed[KINDS];
    uint32_t *times;              /* of the operations, in nanoseconds */
    size_t done, room;
} tally;

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int is_measured(uint64_t t)
{
    return t >= tally.measured && t <= tally.over;
}

static void count_operation(uint64_t began)
{
    uint64_t t = now();
    tally.all++;
    if (!is_measured(t)) return;
    if (tally.done == tally.room) {
        tally.room = tally.room ? tally.room * 2 : 1 << 16;
        tally.times = realloc(tally.times, tally.room * sizeof *tally.times);
        if (!tally.times) give_up("realloc");
    }
    tally.times[tally.done++] = (uint32_t)(t - began);
}

static void count_octets(uint64_t length)
{
    tally.all_octets += length;
    if (is_measured(now())) tally.octets += length;
}

static void begin_measuring(uint64_t at, uint64_t until)
{
    tally.measured = at;
    tally.over = until;
    tally.done = tally.all = 0;
}

static int ascending(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static double percentile(double share)
{
    return tally.done ? tally.times[(size_t)(share * (double)(tally.done - 1) + 0.5)] / 1000.0 : 0;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Print one line of JSON. */
static void report(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(tally.times, tally.done, sizeof *tally.times, ascending);
    printf("{\"seconds\":%.6f,\"done\":%zu,\"octets\":%lu,\"all\":%lu,\"all_octets\":%lu,"
           "\"p50_us\":%.2f,\"p99_us\":%.2f,\"reopened\":%lu,\"cpu_s\":%.6f,\"failed\":{",
           (double)(tally.over - tally.measured) / (double)SECOND, tally.done, tally.octets,
           tally.all, tally.all_octets, percentile(.5), percentile(.99), tally.reopened,
           seconds(used.ru_utime) + seconds(used.ru_stime));
    for (int kind = 0; kind < KINDS; kind++)
        printf("%s\"%s\":%lu", kind ? "," : "", failures[kind], tally.failed[kind]);
    printf("}}\n");
    fflush(stdout);
}
