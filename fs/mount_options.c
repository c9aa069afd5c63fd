// SPDX-License-Identifier: Apache-2.0
#include "fs/mount_options.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/base/text.h"

enum { OPTION_BYTES_MAX = 512 };

// --- values ----------------------------------------------------------------------------------

// A whole number in [minimum, maximum] and nothing behind it.
static bool parse_number(const char *value, uint64_t minimum, uint64_t maximum, uint32_t *out)
{
    char *end;
    if (*value < '0' || *value > '9')
        return false;
    unsigned long long number = strtoull(value, &end, 10);
    if (*end != '\0' || number < minimum || number > maximum)
        return false;
    *out = (uint32_t)number;
    return true;
}

// "5" and "5s" are seconds, "500ms" milliseconds.
static bool parse_duration_ms(const char *value, uint32_t *out)
{
    char *unit;
    if (*value < '0' || *value > '9')
        return false;
    unsigned long long number = strtoull(value, &unit, 10);
    unsigned scale = strcmp(unit, "ms") == 0 ? 1 : 1000;
    if (scale == 1000 && *unit != '\0' && strcmp(unit, "s") != 0)
        return false;
    if (number == 0 || number > 3600000 / scale)
        return false;
    *out = (uint32_t)number * scale;
    return true;
}

static bool copy_value(const char *value, char *out, size_t bytes)
{
    size_t length = strlen(value);
    if (length == 0 || length >= bytes)
        return false;
    memcpy(out, value, length + 1);
    return true;
}

// --- one function an option with a value -----------------------------------------------------

static bool set_port(struct mount_options *options, const char *value)
{
    uint32_t port;
    if (!parse_number(value, 1, UINT16_MAX, &port))
        return false;
    options->port = (uint16_t)port;
    return true;
}

static bool set_lanes(struct mount_options *options, const char *value)
{
    return parse_number(value, 1, 64, &options->lanes);
}

static bool set_cache(struct mount_options *options, const char *value)
{
    return text_parse_size(value, &options->cache_bytes) &&
           options->cache_bytes >= MOUNT_CACHE_BYTES_MIN;
}

static bool set_lease(struct mount_options *options, const char *value)
{
    return parse_duration_ms(value, &options->lease_ms);
}

static bool set_beat(struct mount_options *options, const char *value)
{
    return parse_duration_ms(value, &options->beat_ms);
}

static bool set_fence(struct mount_options *options, const char *value)
{
    return copy_value(value, options->fence, sizeof(options->fence)) && value[0] == '/';
}

static bool set_watchdog(struct mount_options *options, const char *value)
{
    return copy_value(value, options->watchdog, sizeof(options->watchdog)) && value[0] == '/';
}

static bool set_log(struct mount_options *options, const char *value)
{
    if (strcmp(value, "stderr") == 0)
        options->log = MOUNT_LOG_STDERR;
    else if (strcmp(value, "syslog") == 0)
        options->log = MOUNT_LOG_SYSLOG;
    else if (value[0] == '/' && copy_value(value, options->log_path, sizeof(options->log_path)))
        options->log = MOUNT_LOG_FILE;
    else
        return false;
    return true;
}

static void set_local(struct mount_options *options)
{
    options->is_local = true;
}

static void set_no_recovery(struct mount_options *options)
{
    options->no_recovery = true;
}

static void set_allow_unbounded(struct mount_options *options)
{
    options->allow_unbounded = true;
}

static void set_debug(struct mount_options *options)
{
    options->debug = true;
}

static void set_direct(struct mount_options *options)
{
    options->is_direct = true;
}

static void set_keep_names(struct mount_options *options)
{
    options->keep_names = true;
}

static void set_relatime(struct mount_options *options)
{
    options->atime = MOUNT_RELATIME;
}

static void set_noatime(struct mount_options *options)
{
    options->atime = MOUNT_NOATIME;
}

static void set_strictatime(struct mount_options *options)
{
    options->atime = MOUNT_STRICTATIME;
}

// --- the tables ------------------------------------------------------------------------------

static const struct {
    const char *name;
    void (*set)(struct mount_options *options);
} words[] = {
    {"local", set_local},
    {"norecovery", set_no_recovery},
    {"lease-unsafe", set_allow_unbounded},
    {"debug", set_debug},
    {"direct", set_direct},
    {"keep-names", set_keep_names},
    {"relatime", set_relatime},
    {"atime", set_relatime},
    {"noatime", set_noatime},
    {"norelatime", set_strictatime},
    {"strictatime", set_strictatime},
};

static const struct {
    const char *name;
    bool (*set)(struct mount_options *options, const char *value);
    const char *expects;
} values[] = {
    {"port", set_port, "a port number, 1 to 65535"},
    {"lanes", set_lanes, "a number of threads, 1 to 64"},
    {"cache", set_cache, "a size of at least 8M, such as 512M or 4G"},
    {"lease", set_lease, "a time such as 5 or 5s or 5000ms"},
    {"beat", set_beat, "a time such as 1 or 1s or 1000ms"},
    {"fence", set_fence, "the absolute path of a command"},
    {"watchdog", set_watchdog, "the absolute path of a watchdog device"},
    {"log", set_log, "stderr, syslog or the absolute path of a file"},
};

// Options of mount(8) that the kernel's mount call takes.
static const struct {
    const char *name;
    unsigned long set, clear;
} kernel_flags[] = {
    {"ro", MS_RDONLY, 0},           {"rw", 0, MS_RDONLY},       {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},         {"nodev", MS_NODEV, 0},     {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},       {"exec", 0, MS_NOEXEC},     {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},   {"dirsync", MS_DIRSYNC, 0}, {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME}, {"defaults", 0, 0},
};

// Meant for mount(8), systemd or people, not for us.
static const char *const ignored[] = {"auto",  "noauto", "nofail", "_netdev", "user", "nouser",
                                      "users", "owner",  "group",  "silent",  "loud", "nolazytime"};
static const char *const ignored_prefixes[] = {"x-", "X-", "comment=", "uhelper=", "helper="};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool take_word(struct mount_options *options, const char *option)
{
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(option, words[i].name) == 0) {
            words[i].set(options);
            return true;
        }
    }
    return false;
}

static bool take_kernel_flag(struct mount_options *options, const char *option)
{
    for (size_t i = 0; i < COUNT(kernel_flags); i++) {
        if (strcmp(option, kernel_flags[i].name) != 0)
            continue;
        options->mount_flags |= kernel_flags[i].set;
        options->mount_flags &= ~kernel_flags[i].clear;
        options->is_read_only = (options->mount_flags & MS_RDONLY) != 0;
        return true;
    }
    return false;
}

static bool is_ignored(const char *option)
{
    for (size_t i = 0; i < COUNT(ignored); i++) {
        if (strcmp(option, ignored[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < COUNT(ignored_prefixes); i++) {
        if (strncmp(option, ignored_prefixes[i], strlen(ignored_prefixes[i])) == 0)
            return true;
    }
    return false;
}

// Whether the option is one of those with a value; *good says whether the value is.
static bool take_value(struct mount_options *options, const char *option, bool *good,
                       struct text *why)
{
    for (size_t i = 0; i < COUNT(values); i++) {
        size_t length = strlen(values[i].name);
        if (strncmp(option, values[i].name, length) != 0 ||
            (option[length] != '=' && option[length] != '\0'))
            continue;
        *good = option[length] == '=' && values[i].set(options, option + length + 1);
        if (!*good)
            text_add(why, "option '%s': %s= expects %s", option, values[i].name, values[i].expects);
        return true;
    }
    return false;
}

static bool take_option(struct mount_options *options, const char *option, struct text *why)
{
    bool good = true;
    if (option[0] == '\0' || take_word(options, option) || take_kernel_flag(options, option))
        return true;
    if (take_value(options, option, &good, why))
        return good;
    if (is_ignored(option))
        return true;
    text_add(why, "unknown option '%s'", option);
    return false;
}

// --- public ----------------------------------------------------------------------------------

void mount_options_init(struct mount_options *options)
{
    *options = (struct mount_options){
        .port = MOUNT_PORT_DEFAULT,
        .beat_ms = MOUNT_BEAT_MS_DEFAULT,
        .lease_ms = MOUNT_LEASE_MS_DEFAULT,
    };
}

bool mount_options_parse(struct mount_options *options, const char *list, struct text *why)
{
    while (*list != '\0') {
        char option[OPTION_BYTES_MAX];
        size_t length = strcspn(list, ",");
        if (length >= sizeof(option)) {
            text_add(why, "an option is longer than %d bytes: '%.40s...'", OPTION_BYTES_MAX, list);
            return false;
        }
        memcpy(option, list, length);
        option[length] = '\0';
        if (!take_option(options, option, why))
            return false;
        list += length;
        if (*list == ',')
            list++;
    }
    return true;
}

bool mount_options_verify(const struct mount_options *options, struct text *why)
{
    if (options->no_recovery && !options->is_read_only)
        text_add(why, "norecovery needs ro");
    else if (options->beat_ms < 100)
        text_add(why, "beat: at least 100 ms");
    // Two beats may get lost and the third still comes in time.
    else if (options->lease_ms < 3 * options->beat_ms)
        text_add(why, "lease: at least three beats (%u ms), not %u ms", 3 * options->beat_ms,
                 options->lease_ms);
    else
        return true;
    return false;
}

static void add_option(struct text *text, const char *option)
{
    text_add(text, "%s%s", text->length > 0 ? "," : "", option);
}

void mount_options_to_text(const struct mount_options *options, struct text *text)
{
    static const char *const atime[] = {"relatime", "noatime", "strictatime"};
    add_option(text, options->is_read_only ? "ro" : "rw");
    for (size_t i = 0; i < COUNT(kernel_flags); i++) {
        unsigned long flag = kernel_flags[i].set;
        if (flag != 0 && flag != MS_RDONLY && (options->mount_flags & flag) != 0)
            add_option(text, kernel_flags[i].name);
    }
    add_option(text, atime[options->atime]);
    if (options->is_local)
        add_option(text, "local");
    if (options->no_recovery)
        add_option(text, "norecovery");
    if (options->allow_unbounded)
        add_option(text, "lease-unsafe");
    if (options->debug)
        add_option(text, "debug");
    if (options->is_direct)
        add_option(text, "direct");
    if (options->keep_names)
        add_option(text, "keep-names");
    if (options->log == MOUNT_LOG_FILE)
        text_add(text, ",log=%s", options->log_path);
    else if (options->log != MOUNT_LOG_AUTO)
        add_option(text, options->log == MOUNT_LOG_STDERR ? "log=stderr" : "log=syslog");
    text_add(text, ",port=%u,lease=%ums,beat=%ums", options->port, options->lease_ms,
             options->beat_ms);
    if (options->lanes != 0)
        text_add(text, ",lanes=%u", options->lanes);
    if (options->cache_bytes != 0)
        text_add(text, ",cache=%llu", (unsigned long long)options->cache_bytes);
    if (options->fence[0] != '\0')
        text_add(text, ",fence=%s", options->fence);
    if (options->watchdog[0] != '\0')
        text_add(text, ",watchdog=%s", options->watchdog);
}
