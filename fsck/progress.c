// SPDX-License-Identifier: Apache-2.0
#include "fsck/progress.h"

#include <unistd.h>

#include "fs/base/text.h"

enum { BAR_WIDTH = 40 };

static const uint64_t redraw_ns = 100000000;
static const uint64_t estimate_after_ns = 1000000000;

void progress_init(struct progress *progress)
{
    *progress = (struct progress){.out = isatty(STDERR_FILENO) ? stderr : NULL, .what = ""};
}

void progress_begin(struct progress *progress, const char *what, const char *unit)
{
    progress_clear(progress);
    progress->what = what;
    progress->unit = unit;
    progress->begun_ns = 0;
    progress->drawn_ns = 0;
}

// Three digits are enough: 123, 12.3 k, 1.23 M.
static void add_rate(struct text *text, double rate)
{
    static const char *const prefixes[] = {"", "k ", "M ", "G "};
    unsigned prefix = 0;
    for (; rate >= 1000 && prefix + 1 < sizeof(prefixes) / sizeof(prefixes[0]); prefix++)
        rate /= 1000;
    text_add(text, "%.*f %s",
             prefix == 0 || rate >= 100 ? 0
             : rate >= 10               ? 1
                                        : 2,
             rate, prefixes[prefix]);
}

static void add_left(struct text *text, double seconds)
{
    uint64_t left = seconds < 360000 ? (uint64_t)(seconds + 0.5) : 359999;
    if (left >= 3600)
        text_add(text, "  %llu:%02llu:%02llu left", (unsigned long long)(left / 3600),
                 (unsigned long long)(left / 60 % 60), (unsigned long long)(left % 60));
    else
        text_add(text, "  %llu:%02llu left", (unsigned long long)(left / 60),
                 (unsigned long long)(left % 60));
}

void progress_to_text(const struct progress *progress, uint64_t now_ns, uint64_t done,
                      uint64_t total, struct text *text)
{
    static const char full[BAR_WIDTH + 1] = "########################################";
    uint64_t elapsed_ns = progress->begun_ns == 0 ? 0 : now_ns - progress->begun_ns;
    double rate = elapsed_ns == 0 ? 0 : (double)done * 1e9 / (double)elapsed_ns;
    double share = total == 0 ? 0 : done < total ? (double)done / (double)total : 1;
    if (total == 0)
        text_add(text, "%llu", (unsigned long long)done);
    else
        text_add(text, "[%-*.*s] %3d %%", BAR_WIDTH, (int)(share * BAR_WIDTH), full,
                 (int)(share * 100));
    if (progress->unit == NULL || rate <= 0)
        return;
    text_add(text, "  ");
    add_rate(text, rate);
    text_add(text, "%s/s", progress->unit);
    if (elapsed_ns >= estimate_after_ns && done < total)
        add_left(text, (double)(total - done) / rate);
}

static void draw(const struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total)
{
    TEXT(text, 160);
    progress_to_text(progress, now_ns, done, total, &text);
    fprintf(progress->out, "\r\033[K%-22s %s", progress->what, text.bytes);
    fflush(progress->out);
}

void progress_update(struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total)
{
    if (progress->out == NULL || now_ns - progress->drawn_ns < redraw_ns)
        return;
    if (progress->begun_ns == 0)
        progress->begun_ns = now_ns;
    progress->drawn_ns = now_ns;
    draw(progress, now_ns, done, total);
    progress->is_drawn = true;
}

void progress_clear(struct progress *progress)
{
    if (!progress->is_drawn)
        return;
    fputs("\r\033[K", progress->out);
    fflush(progress->out);
    progress->is_drawn = false;
}
