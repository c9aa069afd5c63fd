// SPDX-License-Identifier: Apache-2.0
// Where a real thread could be interrupted, the sabotaged code lets others run.
#pragma once

#include "fs/base/environment.h"

// The world in which the interrupted coroutine sleeps; NULL: nobody is interrupted.
void ring2_interrupt_in(struct environment *environment);
