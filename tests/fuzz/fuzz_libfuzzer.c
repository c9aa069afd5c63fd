// SPDX-License-Identifier: Apache-2.0
// libFuzzer's way into a target.
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    fuzz_target.run(bytes, length);
    return 0;
}
