// SPDX-License-Identifier: Apache-2.0
// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash of short input. Who does not know the
// key cannot choose input that collides.
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t siphash24(const uint8_t key[16], const void *bytes, size_t length);
