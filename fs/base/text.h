// SPDX-License-Identifier: Apache-2.0
// A bounded text builder: what every `_to_text` writes into. It never allocates and never
// overflows; what does not fit is cut and `truncated` says so.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes;     // always terminated by 0
    size_t capacity; // of `bytes`, the 0 included; at least 1
    size_t length;
    bool truncated;
};

void text_init(struct text *text, char *bytes, size_t capacity);
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_arguments(struct text *text, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
// 16 bytes as a UUID in lower case.
void text_add_uuid(struct text *text, const uint8_t uuid[16]);
// A size in the largest binary unit that keeps three digits: 8.00 GiB.
void text_add_size(struct text *text, uint64_t bytes);

// The other way: a decimal number of bytes, or of KiB, MiB, GiB, TiB with K, M, G, T behind it,
// also as KiB and so on, in either case. False if it is anything else, or more than 64 bits hold.
bool text_parse_size(const char *string, uint64_t *bytes);

// Copies as much of `from` as fits, always terminated; `capacity` > 0.
void text_copy(char *to, size_t capacity, const char *from);

// Declares `name`, a text over `size` bytes on the stack.
#define TEXT(name, size)                                                                           \
    char name##_bytes[size];                                                                       \
    struct text name;                                                                              \
    text_init(&name, name##_bytes, sizeof(name##_bytes))
