// SPDX-License-Identifier: Apache-2.0
// Integers as they stand on disk and on the wire. Each is a struct, so that a disk value cannot
// be used as a number by accident, nor a little-endian one as a big-endian one.
#pragma once

#include <endian.h>
#include <stdint.h>

typedef struct {
    uint16_t raw;
} le16_t;
typedef struct {
    uint32_t raw;
} le32_t;
typedef struct {
    uint64_t raw;
} le64_t;
typedef struct {
    uint16_t raw;
} be16_t;
typedef struct {
    uint32_t raw;
} be32_t;
typedef struct {
    uint64_t raw;
} be64_t;

_Static_assert(sizeof(le16_t) == 2 && sizeof(le32_t) == 4 && sizeof(le64_t) == 8, "disk sizes");
_Static_assert(sizeof(be16_t) == 2 && sizeof(be32_t) == 4 && sizeof(be64_t) == 8, "disk sizes");

static inline uint16_t le16_get(le16_t v)
{
    return le16toh(v.raw);
}
static inline uint32_t le32_get(le32_t v)
{
    return le32toh(v.raw);
}
static inline uint64_t le64_get(le64_t v)
{
    return le64toh(v.raw);
}
static inline le16_t le16_make(uint16_t v)
{
    return (le16_t){htole16(v)};
}
static inline le32_t le32_make(uint32_t v)
{
    return (le32_t){htole32(v)};
}
static inline le64_t le64_make(uint64_t v)
{
    return (le64_t){htole64(v)};
}
static inline uint16_t be16_get(be16_t v)
{
    return be16toh(v.raw);
}
static inline uint32_t be32_get(be32_t v)
{
    return be32toh(v.raw);
}
static inline uint64_t be64_get(be64_t v)
{
    return be64toh(v.raw);
}
static inline be16_t be16_make(uint16_t v)
{
    return (be16_t){htobe16(v)};
}
static inline be32_t be32_make(uint32_t v)
{
    return (be32_t){htobe32(v)};
}
static inline be64_t be64_make(uint64_t v)
{
    return (be64_t){htobe64(v)};
}
