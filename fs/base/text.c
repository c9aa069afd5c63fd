// SPDX-License-Identifier: Apache-2.0
#include "fs/base/text.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/check.h"

void text_init(struct text *text, char *bytes, size_t capacity)
{
    CHECK(capacity > 0);
    *text = (struct text){.bytes = bytes, .capacity = capacity};
    bytes[0] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_add_arguments(text, format, arguments);
    va_end(arguments);
}

void text_add_arguments(struct text *text, const char *format, va_list arguments)
{
    size_t room = text->capacity - text->length;
    int wanted = vsnprintf(text->bytes + text->length, room, format, arguments);
    if (wanted < 0 || (size_t)wanted >= room) {
        text->truncated = true;
        text->length = text->capacity - 1;
        return;
    }
    text->length += (size_t)wanted;
}

void text_add_uuid(struct text *text, const uint8_t uuid[16])
{
    for (int i = 0; i < 16; i++)
        text_add(text, "%s%02x", (i == 4 || i == 6 || i == 8 || i == 10) ? "-" : "", uuid[i]);
}

void text_add_size(struct text *text, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        text_add(text, "%llu B", (unsigned long long)bytes);
    else
        text_add(text, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, units[unit]);
}

void text_copy(char *to, size_t capacity, const char *from)
{
    CHECK(capacity > 0);
    size_t length = strnlen(from, capacity - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

// Whether the decimal number that begins there fits; `*end` is behind it.
static bool parse_digits(const char *string, uint64_t *value, const char **end)
{
    bool fits = true;
    *value = 0;
    for (*end = string; **end >= '0' && **end <= '9'; (*end)++)
        fits = fits && !__builtin_mul_overflow(*value, 10, value) &&
               !__builtin_add_overflow(*value, (uint64_t)(**end - '0'), value);
    return fits && *end != string;
}

bool text_parse_size(const char *string, uint64_t *bytes)
{
    static const char units[] = "KkMmGgTt";
    const char *end;
    if (!parse_digits(string, bytes, &end))
        return false;
    if (*end == '\0')
        return true;
    const char *unit = strchr(units, *end);
    if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))
        return false;
    unsigned shift = 10 * ((unsigned)(unit - units) / 2 + 1);
    if (*bytes > UINT64_MAX >> shift)
        return false;
    *bytes <<= shift;
    return true;
}
