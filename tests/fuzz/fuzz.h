// SPDX-License-Identifier: Apache-2.0
// Fuzzing of what reads bytes that others wrote. Each target is one file which defines fuzz_target;
// it is linked twice: with libFuzzer, which looks for new inputs (fuzz_libfuzzer.c), and with a
// replayer (fuzz_replay.c), which gives it the inputs of tests/fuzz/corpus and demands that they
// reach all that the target names. docs/testing.md has the commands.
//
// An input is a script for the target: it says what to build and what to spoil, and the target puts
// checksums right where the script wants it, or nothing behind the checksum would ever be reached.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_INPUT_BYTES_MAX = 8192 };

struct fuzz_target {
    const char *name; // of its folder in the corpus
    // Gives any bytes to the code under test, and ends the program (CHECK) if that breaks a promise
    // of its header. Returns the marks that were reached, bit i for marks[i].
    uint64_t (*run)(const uint8_t *bytes, size_t length);
    // The number-th input that reaches a mark, as the encoders of the code make it: its length, at
    // most FUZZ_INPUT_BYTES_MAX; 0: no more.
    size_t (*seed)(unsigned number, uint8_t *bytes);
    const char *const *marks; // closed by NULL, at most 64
};

extern const struct fuzz_target fuzz_target;

// Reads a script from front to end; behind its end stand zeros.
struct fuzz_script {
    const uint8_t *bytes;
    size_t left;
};

void fuzz_take(struct fuzz_script *script, void *bytes, size_t length);
uint8_t fuzz_take_byte(struct fuzz_script *script);
uint16_t fuzz_take_u16(struct fuzz_script *script);
