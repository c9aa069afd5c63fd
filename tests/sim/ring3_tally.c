// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_tally.h"

#include <inttypes.h>

static void spread_add(struct ring3_spread *spread, uint64_t step)
{
    spread->counts[step < RING3_SPREAD_STEPS ? step : RING3_SPREAD_STEPS - 1]++;
}

static void count_size(struct ring3_tally *tally, const struct ring3_result *result,
                       uint64_t faults)
{
    if (result->virtual_ns >= 20000 * RING3_MS && result->operations >= 300 &&
        result->machine_count >= 3 && faults >= 2)
        tally->long_ones++;
    else if (result->operations >= 40 && faults >= 1)
        tally->short_ones++;
}

void ring3_tally_add(struct ring3_tally *tally, const struct ring3_result *result)
{
    uint64_t faults = 0;
    tally->histories++;
    tally->operations += result->operations;
    tally->looks += result->looks;
    tally->unknown += result->unknown;
    tally->transfers += result->transfers;
    tally->lives += result->lives;
    tally->virtual_ms += result->virtual_ns / RING3_MS;
    tally->writes += result->writes;
    tally->late_writes += result->late_writes;
    tally->steps += result->steps;
    tally->copies += result->copies;
    tally->broken_freezes += result->broken_freezes;
    for (unsigned i = 0; i < RING3_FAULT_COUNT; i++) {
        for (unsigned j = 0; j < RING3_PHASE_COUNT; j++) {
            tally->faults[i][j] += result->faults[i][j];
            faults += result->faults[i][j];
        }
    }
    count_size(tally, result, faults);
    spread_add(&tally->nodes, result->machine_count);
    spread_add(&tally->virtual_s, result->virtual_ns / (1000 * RING3_MS));
    spread_add(&tally->operation_tens, result->operations / 10);
    spread_add(&tally->fault_counts, faults);
    for (unsigned i = 0; i < RING3_WAIT_COUNT; i++)
        spread_add(&tally->waits[i], 100 * result->waits_ns[i] / result->promised_ns);
}

void ring3_tally_merge(void *sum, const void *tally)
{
    uint64_t *into = sum;
    const uint64_t *from = tally;
    for (size_t i = 0; i < sizeof(struct ring3_tally) / sizeof(uint64_t); i++)
        into[i] += from[i];
}
_Static_assert(sizeof(struct ring3_tally) % sizeof(uint64_t) == 0, "numbers only");

void ring3_tally_print(const struct ring3_tally *tally, uint64_t first, double seconds)
{
    printf("%" PRIu64 " histories of whole nodes hold (first seed %" PRIu64 "): %" PRIu64
           " operations and %" PRIu64 " last looks, %" PRIu64 " without an answer, %" PRIu64
           " transfers of lanes, %" PRIu64 " lives, %" PRIu64 " writes, %" PRIu64
           " of them late, %" PRIu64 " copies while frozen, %" PRIu64
           " freezes that did not hold, %" PRIu64 " s of virtual time, %.1f s, %.1f histories/s\n",
           tally->histories, first, tally->operations, tally->looks, tally->unknown,
           tally->transfers, tally->lives, tally->writes, tally->late_writes, tally->copies,
           tally->broken_freezes, tally->virtual_ms / 1000, seconds,
           seconds > 0 ? (double)tally->histories / seconds : 0.0);
}

// The step that so many of 1000 histories do not go beyond.
static unsigned spread_at(const struct ring3_spread *spread, uint64_t histories, uint64_t permille)
{
    uint64_t wanted = (histories * permille + 999) / 1000, seen = 0;
    if (wanted == 0)
        wanted = 1;
    for (unsigned i = 0; i < RING3_SPREAD_STEPS; i++) {
        seen += spread->counts[i];
        if (seen >= wanted)
            return i;
    }
    return 0;
}

static void print_spread(const char *what, const struct ring3_spread *spread, uint64_t histories,
                         unsigned grain)
{
    static const uint64_t permilles[] = {0, 500, 990, 1000};
    printf("%-22s", what);
    for (unsigned i = 0; i < sizeof(permilles) / sizeof(permilles[0]); i++)
        printf(" %8u", spread_at(spread, histories, permilles[i]) * grain);
    printf("\n");
}

// Of the longest one after the faults, in percent of the sum of the protocol's times.
static const char *const waits[RING3_WAIT_COUNT] = {"wait for an answer, %", "until all mount, %",
                                                    "umount, %"};

bool ring3_tally_print_table(const struct ring3_tally *tally, uint64_t faults)
{
    bool is_full = true;
    printf("%" PRIu64 " histories of at least 20 s, 300 operations, 3 nodes and 2 faults; %" PRIu64
           " others of at least 40 operations and a fault\n",
           tally->long_ones, tally->short_ones);
    printf("%-22s %8s %8s %8s %8s\n", "each history", "least", "median", "p99", "most");
    print_spread("nodes", &tally->nodes, tally->histories, 1);
    print_spread("virtual seconds", &tally->virtual_s, tally->histories, 1);
    print_spread("operations", &tally->operation_tens, tally->histories, 10);
    print_spread("faults", &tally->fault_counts, tally->histories, 1);
    for (unsigned i = 0; i < RING3_WAIT_COUNT; i++)
        print_spread(waits[i], &tally->waits[i], tally->histories, 1);
    printf("%-12s %9s %9s %9s   of all faults, in which phase of a recovery\n", "fault", "quiet",
           "fencing", "replaying");
    for (unsigned i = 0; i < RING3_FAULT_COUNT; i++) {
        const uint64_t *row = tally->faults[i];
        if (!(faults >> i & 1))
            continue;
        printf("%-12s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "   %s\n",
               ring3_fault_name((enum ring3_fault)i), row[RING3_QUIET], row[RING3_FENCING],
               row[RING3_REPLAYING], ring3_fault_sentence((enum ring3_fault)i));
        is_full =
            is_full && row[RING3_QUIET] > 0 && row[RING3_FENCING] > 0 && row[RING3_REPLAYING] > 0;
    }
    return is_full;
}
