// SPDX-License-Identifier: Apache-2.0
#include "fsck/progress.h"

#include <unistd.h>

enum { BAR_WIDTH = 40 };

static const uint64_t redraw_ns = 100000000;

void progress_init(struct progress *progress)
{
    *progress = (struct progress){.out = isatty(STDERR_FILENO) ? stderr : NULL, .what = ""};
}

void progress_begin(struct progress *progress, const char *what)
{
    progress_clear(progress);
    progress->what = what;
    progress->drawn_ns = 0;
}

static void draw(struct progress *progress, uint64_t done, uint64_t total)
{
    static const char full[BAR_WIDTH + 1] = "########################################";
    if (total == 0) {
        fprintf(progress->out, "\r\033[K%-22s %llu", progress->what, (unsigned long long)done);
    } else {
        double share = done < total ? (double)done / (double)total : 1;
        fprintf(progress->out, "\r\033[K%-22s [%-*.*s] %3d %%", progress->what, BAR_WIDTH,
                (int)(share * BAR_WIDTH), full, (int)(share * 100));
    }
    fflush(progress->out);
    progress->is_drawn = true;
}

void progress_update(struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total)
{
    if (progress->out == NULL || now_ns - progress->drawn_ns < redraw_ns)
        return;
    progress->drawn_ns = now_ns;
    draw(progress, done, total);
}

void progress_clear(struct progress *progress)
{
    if (!progress->is_drawn)
        return;
    fputs("\r\033[K", progress->out);
    fflush(progress->out);
    progress->is_drawn = false;
}
