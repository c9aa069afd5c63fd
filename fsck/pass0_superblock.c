// SPDX-License-Identifier: Apache-2.0
// Assumes nothing but a device. Finds the superblock without hints, compares its copies, looks at
// the claim block. Leaves the geometry. Who uses the volume is judged in pass 1.
#include <string.h>

#include "fs/base/error.h"
#include "fsck/check.h"

static bool place_is_sound(const struct format_superblock_place *place)
{
    return place->verified == 0 && place->decoded == 0;
}

// Whoever changes a mounted volume's superblock writes its copies one by one.
static bool is_left_behind(const struct geometry *copy, const struct geometry *chosen)
{
    struct geometry geometry = *copy;
    geometry.feature_ro_compat &= ~FEATURE_RO_COMPAT_KNOWN;
    geometry.feature_ro_compat |= chosen->feature_ro_compat & FEATURE_RO_COMPAT_KNOWN;
    geometry.state &= ~(uint32_t)SUPERBLOCK_STATE_DAMAGED;
    geometry.state |= chosen->state & SUPERBLOCK_STATE_DAMAGED;
    return memcmp(&geometry, chosen, sizeof(geometry)) == 0;
}

static void compare_copy(struct check *check, const struct format_superblock_place *place)
{
    const struct format_superblock_place *chosen = &check->finding.places[check->finding.chosen];
    if (!place_is_sound(place))
        problem_report(&check->problems, PROBLEM_SUPERBLOCK_COPY, place->block, "%s",
                       error_text(place->verified != 0 ? place->verified : place->decoded));
    else if (memcmp(&place->geometry, &chosen->geometry, sizeof(place->geometry)) == 0)
        return;
    else if (is_left_behind(&place->geometry, &chosen->geometry))
        problem_report(&check->problems, PROBLEM_SUPERBLOCK_BEHIND, place->block,
                       "what block %llu says counts", (unsigned long long)chosen->block);
    else
        problem_report(&check->problems, PROBLEM_SUPERBLOCK_DIFFERS, place->block,
                       "it has version %llu, block %llu has %llu",
                       (unsigned long long)place->version, (unsigned long long)chosen->block,
                       (unsigned long long)chosen->version);
}

void pass0_compare_copies(struct check *check)
{
    for (int i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        compare_copy(check, &check->finding.places[i]);
}

static int refuse(struct check *check, int error)
{
    const struct format_superblock_finding *finding = &check->finding;
    const char *reason = NULL;
    if (finding->chosen < 0)
        return check_fail(check, error,
                          "%s (looked at blocks %llu, %llu and %llu); if this should be a lunfs "
                          "volume, the device may be the wrong one",
                          error_text(error), (unsigned long long)finding->places[0].block,
                          (unsigned long long)finding->places[1].block,
                          (unsigned long long)finding->places[2].block);
    const struct format_superblock_place *chosen = &finding->places[finding->chosen];
    if (error == -ERROR_SUPERBLOCK_GEOMETRY)
        geometry_check(&chosen->geometry, &reason);
    return check_fail(check, error, "block %llu: %s%s%s", (unsigned long long)chosen->block,
                      error_text(error), reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

// Block 16 may be the damaged one while its copies are sound: then the first sound copy decides.
static void prefer_sound_copy(struct format_superblock_finding *finding)
{
    const struct format_superblock_place *chosen =
        finding->chosen < 0 ? NULL : &finding->places[finding->chosen];
    if (chosen == NULL || chosen->decoded != -ERROR_SUPERBLOCK_GEOMETRY)
        return;
    for (int i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        if (place_is_sound(&finding->places[i]) &&
            memcmp(finding->places[i].geometry.format_id, chosen->geometry.format_id, 16) == 0) {
            finding->chosen = i;
            return;
        }
    }
}

int pass0_superblock(struct check *check)
{
    int result =
        format_superblock_find(check->device, check->environment->scheduler, &check->finding);
    prefer_sound_copy(&check->finding);
    if (check->finding.chosen < 0 || !place_is_sound(&check->finding.places[check->finding.chosen]))
        return refuse(check, result);
    check->geometry = check->finding.places[check->finding.chosen].geometry;
    const struct geometry *g = &check->geometry;
    if ((g->feature_ro_compat & ~FEATURE_RO_COMPAT_KNOWN) != 0)
        return check_fail(check, -ERROR_SUPERBLOCK_FEATURE, "block %llu: %s",
                          (unsigned long long)check->finding.places[check->finding.chosen].block,
                          error_text(-ERROR_SUPERBLOCK_FEATURE));
    pass0_compare_copies(check);
    if (g->state & SUPERBLOCK_STATE_NEEDS_FSCK)
        problem_report(&check->problems, PROBLEM_NEEDS_FSCK, FORMAT_SUPERBLOCK_BLOCK,
                       "a repair was cut off");
    if (g->state & SUPERBLOCK_STATE_DAMAGED)
        problem_report(&check->problems, PROBLEM_DAMAGE_MET, FORMAT_SUPERBLOCK_BLOCK,
                       "its log says which block");
    return 0;
}
