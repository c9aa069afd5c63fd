// SPDX-License-Identifier: Apache-2.0
#include "dlm/claim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/heartbeat_block.h"
#include "dlm/lease.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

#define MILLISECOND_NS ((uint64_t)1000000)
#define STEP_NS_MAX    (250 * MILLISECOND_NS) // of a watch

enum {
    QUICK_WRITE_MS = 25, // from reading idle to having written
    QUICK_WAIT_MS = 50,  // from there to reading back; more than QUICK_WRITE_MS
    BEAT_MS = 1000,      // of a holder of ours
    BEAT_MS_MAX = 60000, // of others, whatever their blocks say
};

// What stood in the claim block and the heartbeats at one look.
struct look {
    bool claim_is_valid;
    enum claim_purpose purpose;
    uint32_t beat_ms; // the slowest of all that may still beat
    bool slots_are_free;
    _Alignas(8) uint8_t claim[BLOCK_BYTES];
    struct heartbeat_content content[FORMAT_SLOT_COUNT_MAX];
    struct lease_sighting slots[FORMAT_SLOT_COUNT_MAX];
};

// One try to take a claim, or one watch.
struct watch {
    const struct claim_config *config;
    struct claim_users *users;
    uint8_t *buffer;
    struct look before, now;
    bool owns_claim; // `ours` stands in the block, if nobody has written since
    _Alignas(8) uint8_t ours[BLOCK_BYTES];
};

// --- clock -----------------------------------------------------------------------------------

static uint64_t now_ns(const struct claim_config *config)
{
    return config->clock.boot_ns(config->clock.context);
}

static void wait_ns(const struct claim_config *config, uint64_t ns)
{
    config->clock.wait_ns(config->clock.context, ns);
}

// --- blocks ----------------------------------------------------------------------------------

static struct block_expectation claim_expectation(const struct claim_config *config)
{
    return (struct block_expectation){.format_id = config->geometry->format_id,
                                      .address = FORMAT_CLAIM_BLOCK,
                                      .type = BLOCK_TYPE_CLAIM};
}

static int read_block(const struct claim_config *config, uint64_t block, void *buffer)
{
    return block_device_read(config->device, config->scheduler, block * BLOCK_BYTES, buffer,
                             BLOCK_BYTES);
}

static int write_claim(const struct claim_config *config, const void *buffer)
{
    int result =
        block_device_write(config->device, config->scheduler,
                           (uint64_t)FORMAT_CLAIM_BLOCK * BLOCK_BYTES, buffer, BLOCK_BYTES);
    return result != 0 ? result : block_device_flush(config->device, config->scheduler);
}

static bool claim_is_valid(const struct claim_config *config, const void *block)
{
    const struct claim_disk *disk = block;
    struct block_expectation expected = claim_expectation(config);
    return format_block_verify(block, &expected) == 0 && le32_get(disk->purpose) <= CLAIM_MKFS;
}

static void encode_claim(const struct claim *claim, enum claim_purpose purpose, uint8_t *block)
{
    const struct claim_config *config = &claim->config;
    struct block_expectation is = claim_expectation(config);
    struct claim_disk *disk = (struct claim_disk *)block;
    memset(disk, 0, sizeof(*disk));
    format_block_init(disk, &is);
    disk->purpose = le32_make((uint32_t)purpose);
    disk->beat = le64_make(claim->beat);
    disk->wall_ns = le64_make((uint64_t)config->clock.wall_ns(config->clock.context));
    if (purpose != CLAIM_IDLE) {
        memcpy(disk->holder, config->holder, sizeof(disk->holder));
        memcpy(disk->cluster_id, config->cluster_id, sizeof(disk->cluster_id));
        memcpy(disk->host_name, config->host_name,
               strnlen(config->host_name, sizeof(disk->host_name) - 1));
        disk->beat_ms = le32_make(BEAT_MS);
    }
    format_block_seal(disk, claim->version);
}

// --- looking ---------------------------------------------------------------------------------

static int look_at_slot(struct watch *watch, uint32_t slot)
{
    const struct claim_config *config = watch->config;
    struct look *look = &watch->now;
    struct heartbeat_content *content = &look->content[slot];
    int result =
        read_block(config, geometry_heartbeat_block(config->geometry, slot), watch->buffer);
    if (result != 0)
        return result;
    memset(content, 0, sizeof(*content));
    look->slots[slot] = (struct lease_sighting){0};
    if (heartbeat_decode(watch->buffer, config->geometry, slot, content) != 0) {
        look->slots_are_free = false;
        return 0;
    }
    look->slots[slot] = (struct lease_sighting){.incarnation = content->incarnation,
                                                .beat = content->beat,
                                                .version = content->version,
                                                .state = content->state,
                                                .node_id = content->node_id,
                                                .is_valid = true};
    if (content->state == HEARTBEAT_FREE)
        return 0;
    look->slots_are_free = false;
    if (content->beat_ms > look->beat_ms)
        look->beat_ms = content->beat_ms;
    return 0;
}

static int look(struct watch *watch)
{
    struct look *look = &watch->now;
    int result = read_block(watch->config, FORMAT_CLAIM_BLOCK, watch->buffer);
    if (result != 0)
        return result;
    const struct claim_disk *disk = (const struct claim_disk *)look->claim;
    memcpy(look->claim, watch->buffer, BLOCK_BYTES);
    look->claim_is_valid = claim_is_valid(watch->config, look->claim);
    look->purpose = look->claim_is_valid ? (enum claim_purpose)le32_get(disk->purpose) : CLAIM_IDLE;
    look->beat_ms = BEAT_MS;
    if (look->claim_is_valid && le32_get(disk->beat_ms) > look->beat_ms)
        look->beat_ms = le32_get(disk->beat_ms);
    look->slots_are_free = true;
    for (uint32_t slot = 0; slot < watch->config->geometry->slot_count && result == 0; slot++)
        result = look_at_slot(watch, slot);
    if (look->beat_ms > BEAT_MS_MAX)
        look->beat_ms = BEAT_MS_MAX;
    return result;
}

static bool user_is_known(const struct claim_users *users, const struct claim_user *user)
{
    for (uint32_t i = 0; i < users->count; i++)
        if (users->users[i].is_slot == user->is_slot && users->users[i].slot == user->slot)
            return true;
    return false;
}

static void add_user(struct claim_users *users, const struct claim_user *user)
{
    if (users->count < CLAIM_USERS_MAX && !user_is_known(users, user))
        users->users[users->count++] = *user;
}

static void add_slot_user(struct watch *watch, uint32_t slot)
{
    const struct heartbeat_content *content = &watch->now.content[slot];
    struct claim_user user = {.is_slot = true,
                              .slot = slot,
                              .node_id = content->node_id,
                              .state = content->state,
                              .is_same_cluster =
                                  memcmp(content->cluster_id, watch->config->cluster_id, 16) == 0};
    memcpy(user.name, content->node_name, sizeof(user.name));
    add_user(watch->users, &user);
}

static void add_claim_user(struct watch *watch)
{
    const struct claim_disk *disk = (const struct claim_disk *)watch->now.claim;
    struct claim_user user = {.purpose = watch->now.purpose,
                              .is_same_cluster =
                                  memcmp(disk->cluster_id, watch->config->cluster_id, 16) == 0};
    memcpy(user.name, disk->host_name, sizeof(user.name) - 1);
    add_user(watch->users, &user);
}

static bool slot_has_moved(const struct lease_sighting *a, const struct lease_sighting *b)
{
    return a->is_valid != b->is_valid || a->incarnation != b->incarnation || a->beat != b->beat ||
           a->version != b->version || a->state != b->state;
}

// Compares with what stood there before (in the claim block: with ours, once we wrote it).
static void compare(struct watch *watch)
{
    const uint8_t *claim = watch->owns_claim ? watch->ours : watch->before.claim;
    if (memcmp(claim, watch->now.claim, BLOCK_BYTES) != 0)
        add_claim_user(watch);
    for (uint32_t slot = 0; slot < watch->config->geometry->slot_count; slot++)
        if (slot_has_moved(&watch->before.slots[slot], &watch->now.slots[slot]))
            add_slot_user(watch, slot);
}

static void tell_progress(const struct claim_config *config, const char *what)
{
    if (config->clock.progress != NULL)
        config->clock.progress(config->clock.context, what);
}

static bool is_cancelled(const struct claim_config *config)
{
    return config->clock.is_cancelled != NULL && config->clock.is_cancelled(config->clock.context);
}

static bool is_cleanly_left(const struct look *look)
{
    if (SABOTAGE(claim_in_use_is_idle))
        return true;
    return look->claim_is_valid && look->purpose == CLAIM_IDLE && look->slots_are_free;
}

// Two beats of the slowest and io_max without any change; who moves stands in users then. Once one
// has moved, a beat more shows the others too. If the last user leaves cleanly meanwhile (an umount
// just before us), what moved was its leave, and there is nothing to watch any more. Not once we
// wrote a claim: idle is then what a rival wrote that backed off, over ours.
static int watch_for_life(struct watch *watch)
{
    const struct claim_config *config = watch->config;
    uint64_t beat_ns = watch->now.beat_ms * MILLISECOND_NS;
    uint64_t until_ns = now_ns(config) + 2 * beat_ns + config->io_max_ns;
    bool has_shortened = false;
    watch->before = watch->now;
    for (;;) {
        uint64_t at_ns = now_ns(config);
        bool is_last = at_ns >= until_ns;
        int result = look(watch);
        if (result != 0)
            return result;
        if (!watch->owns_claim && is_cleanly_left(&watch->now)) {
            watch->users->count = 0;
            return 0;
        }
        compare(watch);
        if (is_last)
            return watch->users->count > 0 ? -ERROR_CLAIM_HELD : 0;
        if (watch->users->count > 0 && !has_shortened) {
            has_shortened = true;
            if (at_ns + beat_ns < until_ns)
                until_ns = at_ns + beat_ns;
        }
        if (is_cancelled(config))
            return -ECANCELED;
        tell_progress(config, "looking whether anybody uses the volume");
        uint64_t step_ns = beat_ns / 4 < STEP_NS_MAX ? beat_ns / 4 : STEP_NS_MAX;
        wait_ns(config,
                until_ns > at_ns && until_ns - at_ns < step_ns ? until_ns - at_ns : step_ns);
    }
}

static struct watch *watch_new(const struct claim_config *config, struct claim_users *users)
{
    struct watch *watch = block_buffer_new(sizeof(*watch));
    watch->config = config;
    watch->users = users;
    watch->buffer = block_buffer_new(BLOCK_BYTES);
    users->count = 0;
    return watch;
}

static void watch_free(struct watch *watch)
{
    free(watch->buffer);
    free(watch);
}

// --- taking ----------------------------------------------------------------------------------

static int write_ours(struct claim *claim, struct watch *watch)
{
    claim->beat++;
    claim->version++;
    encode_claim(claim, claim->config.purpose, watch->buffer);
    memcpy(watch->ours, watch->buffer, BLOCK_BYTES);
    claim->beaten_ns = now_ns(&claim->config);
    int result = write_claim(&claim->config, watch->buffer);
    watch->owns_claim = result == 0;
    return result;
}

// 1: ours; 0: it took too long or another one wrote, try the long way.
static int try_quickly(struct claim *claim, struct watch *watch, uint64_t read_at_ns)
{
    int result = write_ours(claim, watch);
    if (result != 0)
        return result;
    if (now_ns(&claim->config) > read_at_ns + QUICK_WRITE_MS * MILLISECOND_NS)
        return 0;
    if (SABOTAGE(claim_unread))
        return 1;
    wait_ns(&claim->config, QUICK_WAIT_MS * MILLISECOND_NS);
    result = look(watch);
    if (result != 0)
        return result;
    return memcmp(watch->now.claim, watch->ours, BLOCK_BYTES) == 0 && watch->now.slots_are_free;
}

// Backs off: what we wrote is taken away again, unless another one has written since.
static void back_off(struct claim *claim, struct watch *watch)
{
    if (!watch->owns_claim || look(watch) != 0 ||
        memcmp(watch->now.claim, watch->ours, BLOCK_BYTES) != 0)
        return;
    claim->version++;
    encode_claim(claim, CLAIM_IDLE, watch->buffer);
    write_claim(&claim->config, watch->buffer);
}

static int try_patiently(struct claim *claim, struct watch *watch)
{
    int result = watch_for_life(watch);
    if (result == 0)
        result = write_ours(claim, watch);
    if (result == 0 && !SABOTAGE(claim_unread))
        result = watch_for_life(watch);
    if (result == -ERROR_CLAIM_HELD || result == -ECANCELED)
        back_off(claim, watch);
    return result;
}

// Another corosync cluster is told apart, for the message.
static int name_refusal(const struct claim_config *config, const struct claim_users *users,
                        int result)
{
    if (result != -ERROR_CLAIM_HELD || config->purpose != CLAIM_CLUSTER)
        return result;
    for (uint32_t i = 0; i < users->count; i++)
        if (users->users[i].is_same_cluster)
            return result;
    return -ERROR_CLUSTER_NAME;
}

static int take(struct claim *claim, struct watch *watch)
{
    uint64_t read_at_ns = now_ns(&claim->config);
    int result = look(watch);
    if (result != 0)
        return result;
    const struct claim_disk *disk = (const struct claim_disk *)watch->now.claim;
    if (watch->now.claim_is_valid) {
        claim->beat = le64_get(disk->beat);
        claim->version = format_block_version(watch->now.claim);
    }
    if (is_cleanly_left(&watch->now)) {
        watch->before = watch->now;
        result = try_quickly(claim, watch, read_at_ns);
        if (result != 0)
            return result < 0 ? result : 0;
    }
    return try_patiently(claim, watch);
}

int claim_acquire(struct claim *claim, const struct claim_config *config, struct claim_users *users)
{
    struct watch *watch = watch_new(config, users);
    *claim = (struct claim){.config = *config};
    int result = take(claim, watch);
    claim->is_held = result == 0;
    watch_free(watch);
    return name_refusal(config, users, result);
}

int claim_watch_live(const struct claim_config *config, struct claim_users *users)
{
    struct watch *watch = watch_new(config, users);
    int result = look(watch);
    if (result == 0 && !is_cleanly_left(&watch->now))
        result = watch_for_life(watch);
    watch_free(watch);
    return result;
}

int claim_is_cleanly_left(const struct claim_config *config)
{
    struct claim_users users;
    struct watch *watch = watch_new(config, &users);
    int result = look(watch);
    if (result == 0)
        result = is_cleanly_left(&watch->now);
    watch_free(watch);
    return result;
}

// --- holding ---------------------------------------------------------------------------------

// Members of a cluster hold the claim together: whichever beats, it is the cluster's.
static bool is_ours(const struct claim_config *config, const uint8_t *block)
{
    const struct claim_disk *disk = (const struct claim_disk *)block;
    if (!claim_is_valid(config, block) || le32_get(disk->purpose) != (uint32_t)config->purpose)
        return false;
    if (config->purpose == CLAIM_CLUSTER)
        return memcmp(disk->cluster_id, config->cluster_id, sizeof(disk->cluster_id)) == 0;
    return memcmp(disk->holder, config->holder, sizeof(disk->holder)) == 0;
}

int claim_adopt(struct claim *claim, const struct claim_config *config)
{
    uint8_t *block = block_buffer_new(BLOCK_BYTES);
    int result = read_block(config, FORMAT_CLAIM_BLOCK, block);
    *claim = (struct claim){.config = *config};
    if (result == 0 && !is_ours(config, block))
        result = -ERROR_CLUSTER_NAME;
    if (result == 0) {
        claim->beat = le64_get(((const struct claim_disk *)block)->beat);
        claim->version = format_block_version(block);
        claim->beaten_ns = now_ns(config);
        claim->is_held = true;
    }
    free(block);
    return result;
}

int claim_beat(struct claim *claim)
{
    const struct claim_config *config = &claim->config;
    uint8_t *block = block_buffer_new(BLOCK_BYTES);
    uint64_t began_ns = now_ns(config);
    int result = read_block(config, FORMAT_CLAIM_BLOCK, block);
    if (result == 0 && is_ours(config, block)) {
        claim->beat = le64_get(((const struct claim_disk *)block)->beat);
        claim->version = format_block_version(block);
    } else if (result == 0 && !SABOTAGE(claim_beats_on) &&
               began_ns > claim->beaten_ns + 2 * BEAT_MS * MILLISECOND_NS) {
        claim->is_held = false; // silent for so long that another one could take it
        result = -ERROR_CLAIM_HELD;
    }
    if (result == 0) {
        claim->beat++;
        claim->version++;
        encode_claim(claim, config->purpose, block);
        result = write_claim(config, block);
    }
    if (result == 0)
        claim->beaten_ns = began_ns;
    free(block);
    return result;
}

int claim_release(struct claim *claim)
{
    uint8_t *block = block_buffer_new(BLOCK_BYTES);
    int result = read_block(&claim->config, FORMAT_CLAIM_BLOCK, block);
    claim->is_held = false;
    if (result == 0 && is_ours(&claim->config, block)) {
        claim->version = format_block_version(block) + 1;
        encode_claim(claim, CLAIM_IDLE, block);
        result = write_claim(&claim->config, block);
    }
    free(block);
    return result;
}

// --- for people ------------------------------------------------------------------------------

const char *claim_purpose_text(enum claim_purpose purpose)
{
    static const char *const names[] = {
        [CLAIM_IDLE] = "nobody",     [CLAIM_CLUSTER] = "a cluster", [CLAIM_LOCAL] = "a local mount",
        [CLAIM_FSCK] = "fsck.lunfs", [CLAIM_MKFS] = "mkfs.lunfs",
    };
    return (unsigned)purpose <= CLAIM_MKFS ? names[purpose] : "unknown";
}

void claim_users_to_text(const struct claim_users *users, struct text *text)
{
    for (uint32_t i = 0; i < users->count; i++) {
        const struct claim_user *user = &users->users[i];
        text_add(text, "%s", i > 0 ? ", " : "");
        if (user->is_slot)
            text_add(text, "%s (slot %u, %s)", user->name[0] ? user->name : "a node", user->slot,
                     heartbeat_state_text(user->state));
        else
            text_add(text, "%s on host %s", claim_purpose_text(user->purpose),
                     user->name[0] ? user->name : "unknown");
    }
}
