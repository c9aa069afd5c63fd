// SPDX-License-Identifier: Apache-2.0
#include "dlm/mode.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

// clang-format off
static const bool compatible[DLM_MODE_COUNT][DLM_MODE_COUNT] = {
    //         NL CR CW PR PW EX
    [DLM_NL] = {1, 1, 1, 1, 1, 1},
    [DLM_CR] = {1, 1, 1, 1, 1, 0},
    [DLM_CW] = {1, 1, 1, 0, 0, 0},
    [DLM_PR] = {1, 1, 0, 1, 0, 0},
    [DLM_PW] = {1, 1, 0, 0, 0, 0},
    [DLM_EX] = {1, 0, 0, 0, 0, 0},
};

// Row: from; column: to.
static const bool down[DLM_MODE_COUNT][DLM_MODE_COUNT] = {
    //         NL CR CW PR PW EX
    [DLM_NL] = {1, 0, 0, 0, 0, 0},
    [DLM_CR] = {1, 1, 0, 0, 0, 0},
    [DLM_CW] = {1, 1, 1, 0, 0, 0},
    [DLM_PR] = {1, 1, 0, 1, 0, 0},
    [DLM_PW] = {1, 1, 1, 1, 1, 0},
    [DLM_EX] = {1, 1, 1, 1, 1, 1},
};
// clang-format on

bool dlm_mode_is_compatible(enum dlm_mode held, enum dlm_mode wanted)
{
    CHECK(held < DLM_MODE_COUNT && wanted < DLM_MODE_COUNT);
    if (SABOTAGE(mode_pr_beside_cw) && held + wanted == DLM_CW + DLM_PR && held != wanted)
        return true;
    return compatible[held][wanted];
}

bool dlm_mode_is_down(enum dlm_mode from, enum dlm_mode to)
{
    CHECK(from < DLM_MODE_COUNT && to < DLM_MODE_COUNT);
    return down[from][to];
}

enum dlm_mode dlm_mode_kept(enum dlm_mode from, enum dlm_mode to)
{
    CHECK(!dlm_mode_is_down(from, to));
    return down[to][from] ? from : DLM_CR;
}

enum dlm_mode dlm_mode_strongest_beside(unsigned held)
{
    // CW and PR are both in a set of candidates only when PW is, so the highest number is
    // strongest.
    for (int mode = DLM_EX; mode > DLM_NL; mode--) {
        bool fits = true;
        for (int other = DLM_NL; other < DLM_MODE_COUNT; other++)
            fits = fits && (!(held & 1U << other) || compatible[other][mode]);
        if (fits)
            return (enum dlm_mode)mode;
    }
    return DLM_NL;
}

enum dlm_mode dlm_mode_weaker(enum dlm_mode a, enum dlm_mode b)
{
    if (dlm_mode_is_down(a, b))
        return b;
    return dlm_mode_is_down(b, a) ? a : DLM_CR;
}

bool dlm_mode_writes_value(enum dlm_mode mode)
{
    return mode == DLM_PW || mode == DLM_EX;
}

bool dlm_mode_pins_value(enum dlm_mode mode)
{
    return mode == DLM_CW || mode == DLM_PR || mode == DLM_PW || mode == DLM_EX;
}

const char *dlm_mode_text(enum dlm_mode mode)
{
    static const char *const texts[DLM_MODE_COUNT] = {"NL", "CR", "CW", "PR", "PW", "EX"};

    if (mode == DLM_MODE_NONE)
        return "--";
    return mode < DLM_MODE_COUNT ? texts[mode] : "??";
}
