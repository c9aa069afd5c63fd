// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz.h"

#include <string.h>

void fuzz_take(struct fuzz_script *script, void *bytes, size_t length)
{
    size_t there = length < script->left ? length : script->left;
    memset(bytes, 0, length);
    if (there > 0)
        memcpy(bytes, script->bytes, there);
    script->bytes += there;
    script->left -= there;
}

uint8_t fuzz_take_byte(struct fuzz_script *script)
{
    uint8_t byte;
    fuzz_take(script, &byte, 1);
    return byte;
}

uint16_t fuzz_take_u16(struct fuzz_script *script)
{
    uint8_t bytes[2];
    fuzz_take(script, bytes, sizeof(bytes));
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}
