// SPDX-License-Identifier: Apache-2.0
// The six lock modes of VMS and what follows from them. Literal matrices: row and column are modes
// in the order of the enumeration, so a reader checks them against the manual by eye.
//
//        what a holder may do          what others may hold beside it
//   NL   nothing (keeps a place)       everything
//   CR   read, others may write        all but EX
//   CW   write, others may write       NL CR CW
//   PR   read, nobody writes           NL CR PR
//   PW   write, others may CR          NL CR
//   EX   write, alone                  NL
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum dlm_mode {
    DLM_NL,
    DLM_CR,
    DLM_CW,
    DLM_PR,
    DLM_PW,
    DLM_EX,
    DLM_MODE_COUNT,
    DLM_MODE_NONE = 0xff, // no lock at all: less than NL
};

// May both be held at once, by two holders?
bool dlm_mode_is_compatible(enum dlm_mode held, enum dlm_mode wanted);

// Does the conversion give nothing away that `from` did not exclude already? Such a conversion
// ("down", or to itself) is always granted at once. CW and PR are not comparable: neither way.
bool dlm_mode_is_down(enum dlm_mode from, enum dlm_mode to);

// What is held while a conversion that is not down waits, and after its denial: `from`, but CR
// between CW and PR. Each of these two excludes what the other allows, and the master may have
// made the change, and let others in, before the holder hears of it.
enum dlm_mode dlm_mode_kept(enum dlm_mode from, enum dlm_mode to);

// The strongest mode that is compatible with every mode whose bit (1 << mode) is set in `held`.
// DLM_EX for an empty set, DLM_NL where EX is in it.
enum dlm_mode dlm_mode_strongest_beside(unsigned held);

// The strongest mode that is neither above `a` nor above `b`: CR for CW and PR, else one of them.
enum dlm_mode dlm_mode_weaker(enum dlm_mode a, enum dlm_mode b);

// PW and EX: the modes whose holder may write the value block.
bool dlm_mode_writes_value(enum dlm_mode mode);

// A mode above CR: while it is held nobody else can change the value block (protocols, rule 19).
bool dlm_mode_pins_value(enum dlm_mode mode);

// "NL" ... "EX", "--" for DLM_MODE_NONE, "??" for anything else.
const char *dlm_mode_text(enum dlm_mode mode);
