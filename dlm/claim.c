// SPDX-License-Identifier: Apache-2.0
// Two ways to take the claim (see claim.h): quickly where the volume was left cleanly, by watching
// where anything says otherwise. In both the last word has the block itself, read back after every
// competitor's write must have landed.
#include "dlm/claim.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dlm/heartbeat.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

#define MS ((uint64_t)1000 * 1000)

enum {
    QUICK_WRITE_MS = 25, // from the read that showed idle to the end of our write
    QUICK_WAIT_MS = 50,
    OWN_BEAT_MS = 1000,
    BEAT_MS_MAX = 60000, // of others, whatever their blocks say
    WATCH_STEP_MS = 250,
    QUICK_ATTEMPTS = 3,
};

// --- the block -------------------------------------------------------------------------------

struct claim_block {
    uint8_t holder[16];
    uint8_t cluster_id[16];
    enum claim_purpose purpose;
    uint64_t beat, version;
    uint32_t beat_ms;
    char host_name[FORMAT_NODE_NAME_BYTES];
};

static struct block_expectation identity(const struct geometry *geometry)
{
    return (struct block_expectation){
        .format_id = geometry->format_id,
        .address = FORMAT_CLAIM_BLOCK,
        .owner = 0,
        .type = BLOCK_TYPE_CLAIM,
    };
}

static int decode(const void *bytes, const struct geometry *geometry, struct claim_block *block)
{
    struct block_expectation expected = identity(geometry);
    int result = format_block_verify(bytes, &expected);
    if (result != 0)
        return result;
    const struct claim_disk *disk = bytes;
    memcpy(block->holder, disk->holder, 16);
    memcpy(block->cluster_id, disk->cluster_id, 16);
    block->purpose = (enum claim_purpose)le32_get(disk->purpose);
    block->beat = le64_get(disk->beat);
    block->version = format_block_version(bytes);
    block->beat_ms = le32_get(disk->beat_ms);
    memcpy(block->host_name, disk->host_name, sizeof(block->host_name));
    block->host_name[sizeof(block->host_name) - 1] = '\0';
    return block->purpose <= CLAIM_MKFS ? 0 : -ERROR_BLOCK_CONTENT;
}

static int read_claim(const struct claim_config *config, uint8_t *buffer, struct claim_block *block)
{
    int result = 0;
    for (int attempt = 0; attempt < 2; attempt++) { // a beat may tear (rule 36)
        result = block_device_read(config->device, config->scheduler,
                                   (uint64_t)FORMAT_CLAIM_BLOCK * BLOCK_BYTES, buffer, BLOCK_BYTES);
        if (result == 0)
            result = decode(buffer, config->geometry, block);
        if (result == 0 || !error_is_check(result))
            break;
    }
    return result;
}

static int write_claim(struct claim *claim, enum claim_purpose purpose)
{
    const struct claim_config *config = &claim->config;
    struct claim_disk *disk = block_buffer_new(BLOCK_BYTES);
    struct block_expectation is = identity(config->geometry);
    format_block_init(disk, &is);
    if (purpose != CLAIM_IDLE) {
        memcpy(disk->holder, config->holder, 16);
        memcpy(disk->cluster_id, config->cluster_id, 16);
        memcpy(disk->host_name, config->host_name, sizeof(config->host_name));
    }
    disk->purpose = le32_make(purpose);
    disk->beat_ms = le32_make(OWN_BEAT_MS);
    disk->beat = le64_make(++claim->beat);
    disk->wall_ns = le64_make((uint64_t)config->clock.wall_ns(config->clock.context));
    format_block_seal(disk, ++claim->version);
    int result = block_device_write(config->device, config->scheduler,
                                    (uint64_t)FORMAT_CLAIM_BLOCK * BLOCK_BYTES, disk, BLOCK_BYTES);
    if (result == 0)
        result = block_device_flush(config->device, config->scheduler);
    free(disk);
    return result;
}

static bool is_ours(const struct claim *claim, const struct claim_block *block)
{
    return block->purpose != CLAIM_IDLE && memcmp(block->holder, claim->config.holder, 16) == 0;
}

// --- who moves ---------------------------------------------------------------------------------

// What the claim block and the slots showed at first; later looks are held against it.
struct sighting {
    uint64_t version; // of the block; 0: it could not be read
    uint32_t state;
    uint32_t node_id;
    uint32_t beat_ms;
    char name[FORMAT_NODE_NAME_BYTES];
    uint8_t cluster_id[16];
};

struct look {
    struct claim_block claim;
    struct sighting slots[FORMAT_SLOT_COUNT_MAX];
};

static uint64_t now_of(const struct claim_config *config)
{
    return config->clock.boot_ns(config->clock.context);
}

// A block that fails its checks is a sighting too: who tears it moves it.
static int look_at_slot(const struct claim_config *config, uint32_t slot, uint8_t *buffer,
                        struct sighting *sighting)
{
    struct heartbeat_content content;
    uint64_t offset = geometry_heartbeat_block(config->geometry, slot) * BLOCK_BYTES;
    int result = block_device_read(config->device, config->scheduler, offset, buffer, BLOCK_BYTES);
    if (result != 0)
        return result;
    if (heartbeat_decode(buffer, config->geometry, slot, &content) != 0)
        return 0;
    *sighting = (struct sighting){.version = content.version,
                                  .state = content.state,
                                  .node_id = content.node_id,
                                  .beat_ms = content.beat_ms};
    memcpy(sighting->name, content.node_name, sizeof(sighting->name));
    memcpy(sighting->cluster_id, content.cluster_id, 16);
    return 0;
}

static int look_at_all(const struct claim_config *config, struct look *look)
{
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    memset(look, 0, sizeof(*look));
    int result = read_claim(config, buffer, &look->claim);
    for (uint32_t slot = 0; slot < config->geometry->slot_count && result == 0; slot++)
        result = look_at_slot(config, slot, buffer, &look->slots[slot]);
    free(buffer);
    return result;
}

static bool is_cleanly_left(const struct claim_config *config, const struct look *look)
{
    if (look->claim.purpose != CLAIM_IDLE)
        return false;
    for (uint32_t slot = 0; slot < config->geometry->slot_count; slot++) {
        if (look->slots[slot].version == 0 || look->slots[slot].state != HEARTBEAT_FREE)
            return false;
    }
    return true;
}

static void add_user(struct claim_users *users, const struct claim_user *user)
{
    if (users->count < CLAIM_USERS_MAX)
        users->users[users->count++] = *user;
}

static void add_claim_user(struct claim_users *users, const struct claim_config *config,
                           const struct claim_block *block)
{
    struct claim_user user = {.purpose = block->purpose};
    user.is_same_cluster =
        block->purpose == CLAIM_CLUSTER && memcmp(block->cluster_id, config->cluster_id, 16) == 0;
    text_copy(user.name, sizeof(user.name), block->host_name);
    add_user(users, &user);
}

static void add_slot_user(struct claim_users *users, const struct claim_config *config,
                          uint32_t slot, const struct sighting *sighting)
{
    struct claim_user user = {.is_slot = true, .slot = slot, .node_id = sighting->node_id};
    user.is_same_cluster = memcmp(sighting->cluster_id, config->cluster_id, 16) == 0;
    text_copy(user.name, sizeof(user.name), sighting->name);
    add_user(users, &user);
}

static bool has_moved(const struct claim_config *config, const struct look *before,
                      const struct look *after, struct claim_users *users)
{
    users->count = 0;
    if (before->claim.version != after->claim.version && after->claim.purpose != CLAIM_IDLE)
        add_claim_user(users, config, &after->claim);
    for (uint32_t slot = 0; slot < config->geometry->slot_count; slot++) {
        if (before->slots[slot].version != after->slots[slot].version)
            add_slot_user(users, config, slot, &after->slots[slot]);
    }
    return users->count > 0;
}

// Two beats of the slowest who may be alive, and what is still on its way to the LUN.
static uint64_t watch_ns(const struct claim_config *config, const struct look *look)
{
    uint32_t beat_ms = OWN_BEAT_MS;
    if (look->claim.purpose != CLAIM_IDLE && look->claim.beat_ms > beat_ms)
        beat_ms = look->claim.beat_ms;
    for (uint32_t slot = 0; slot < config->geometry->slot_count; slot++) {
        const struct sighting *sighting = &look->slots[slot];
        if (sighting->state != HEARTBEAT_FREE && sighting->beat_ms > beat_ms)
            beat_ms = sighting->beat_ms;
    }
    if (beat_ms > BEAT_MS_MAX)
        beat_ms = BEAT_MS_MAX;
    return 2 * beat_ms * MS + config->io_max_ns;
}

// Watches until `look` has stood still for `ns`, or somebody moved: -ERROR_CLAIM_HELD.
static int watch(const struct claim_config *config, const struct look *look, uint64_t ns,
                 struct claim_users *users)
{
    struct look *later = malloc(sizeof(*later));
    CHECK(later != NULL);
    uint64_t until = now_of(config) + ns;
    int result = 0;
    while (result == 0) {
        uint64_t submitted = now_of(config);
        result = look_at_all(config, later);
        if (result == 0 && has_moved(config, look, later, users))
            result = -ERROR_CLAIM_HELD;
        if (result != 0 || submitted >= until)
            break;
        if (config->clock.progress != NULL)
            config->clock.progress(config->clock.context, "watching whether the volume is in use");
        uint64_t left = until - submitted;
        config->clock.wait_ns(config->clock.context,
                              left < WATCH_STEP_MS * MS ? left : WATCH_STEP_MS * MS);
    }
    free(later);
    return result;
}

// --- taking it -------------------------------------------------------------------------------

static int read_back(struct claim *claim, struct claim_users *users)
{
    struct claim_block block;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    int result = read_claim(&claim->config, buffer, &block);
    free(buffer);
    if (result != 0)
        return result;
    if (is_ours(claim, &block))
        return 0;
    users->count = 0;
    add_claim_user(users, &claim->config, &block);
    return -ERROR_CLAIM_HELD;
}

// -EAGAIN: it was not idle, or our write took too long to prove anything.
static int take_quickly(struct claim *claim, struct claim_users *users)
{
    const struct claim_config *config = &claim->config;
    struct claim_block block;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    uint64_t read_ns = now_of(config);
    int result = read_claim(config, buffer, &block);
    free(buffer);
    if (result != 0)
        return result;
    if (block.purpose != CLAIM_IDLE)
        return -EAGAIN;
    claim->version = block.version;
    claim->beat = block.beat;
    result = write_claim(claim, config->purpose);
    if (result != 0)
        return result;
    if (now_of(config) - read_ns > QUICK_WRITE_MS * MS)
        return -EAGAIN;
    config->clock.wait_ns(config->clock.context, QUICK_WAIT_MS * MS);
    return read_back(claim, users);
}

static int take_by_watching(struct claim *claim, struct claim_users *users)
{
    const struct claim_config *config = &claim->config;
    struct look *look = malloc(sizeof(*look));
    CHECK(look != NULL);
    int result = look_at_all(config, look);
    uint64_t patience = result == 0 ? watch_ns(config, look) : 0;
    // What stands there may be our own, from a quick try that was too slow.
    if (result == 0)
        result = watch(config, look, patience, users);
    if (result == 0) {
        claim->version = look->claim.version;
        claim->beat = look->claim.beat;
        result = write_claim(claim, config->purpose);
    }
    if (result == 0)
        result = look_at_all(config, look);
    if (result == 0 && !is_ours(claim, &look->claim)) {
        users->count = 0;
        add_claim_user(users, config, &look->claim);
        result = -ERROR_CLAIM_HELD;
    }
    if (result == 0)
        result = watch(config, look, patience, users);
    free(look);
    return result;
}

int claim_acquire(struct claim *claim, const struct claim_config *config, struct claim_users *users)
{
    *claim = (struct claim){.config = *config};
    users->count = 0;
    int result = claim_is_cleanly_left(config);
    if (result < 0)
        return result;
    bool is_quick = result == 1;
    result = is_quick ? take_quickly(claim, users) : -EAGAIN;
    if (result == -EAGAIN)
        result = take_by_watching(claim, users);
    claim->is_held = result == 0;
    claim->beaten_ns = now_of(config);
    return result;
}

int claim_watch_live(const struct claim_config *config, struct claim_users *users)
{
    struct look *look = malloc(sizeof(*look));
    CHECK(look != NULL);
    users->count = 0;
    int result = look_at_all(config, look);
    if (result == 0 && !is_cleanly_left(config, look))
        result = watch(config, look, watch_ns(config, look), users);
    free(look);
    return result;
}

int claim_is_cleanly_left(const struct claim_config *config)
{
    struct look *look = malloc(sizeof(*look));
    CHECK(look != NULL);
    int result = look_at_all(config, look);
    if (result == 0)
        result = is_cleanly_left(config, look) ? 1 : 0;
    free(look);
    return result;
}

// --- holding it ------------------------------------------------------------------------------

// The members of a cluster share one claim: whoever of them keeps it beats under its holder.
int claim_adopt(struct claim *claim, const struct claim_config *config)
{
    struct claim_block block;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    *claim = (struct claim){.config = *config};
    int result = read_claim(config, buffer, &block);
    free(buffer);
    if (result != 0)
        return result;
    // Idle: a member that thought itself the last gave it back while we came.
    if (block.purpose != CLAIM_IDLE &&
        (block.purpose != CLAIM_CLUSTER || memcmp(block.cluster_id, config->cluster_id, 16) != 0))
        return -ERROR_CLUSTER_NAME;
    if (block.purpose != CLAIM_IDLE)
        memcpy(claim->config.holder, block.holder, 16);
    claim->version = block.version;
    claim->beat = block.beat;
    claim->is_held = true;
    claim->beaten_ns = now_of(config);
    return 0;
}

static bool is_of_our_cluster(const struct claim *claim, const struct claim_block *block)
{
    return claim->config.purpose == CLAIM_CLUSTER && block->purpose == CLAIM_CLUSTER &&
           memcmp(block->cluster_id, claim->config.cluster_id, 16) == 0;
}

// A stranger's claim over ours: while ours is fresh he is the intruder and will see our beat; if we
// were silent for longer than he had to watch, he may be right.
int claim_beat(struct claim *claim)
{
    const struct claim_config *config = &claim->config;
    struct claim_block block;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    uint64_t now = now_of(config);
    int result = read_claim(config, buffer, &block);
    free(buffer);
    if (result != 0 && !error_is_check(result))
        return result;
    bool is_strange = result == 0 && block.purpose != CLAIM_IDLE && !is_ours(claim, &block) &&
                      !is_of_our_cluster(claim, &block);
    if (is_strange && now - claim->beaten_ns > 2 * OWN_BEAT_MS * MS)
        return -ERROR_CLAIM_HELD;
    if (result == 0 && block.version > claim->version)
        claim->version = block.version;
    result = write_claim(claim, config->purpose);
    if (result == 0)
        claim->beaten_ns = now;
    return result;
}

int claim_release(struct claim *claim)
{
    CHECK(claim->is_held);
    claim->is_held = false;
    return write_claim(claim, CLAIM_IDLE);
}

// --- for people and plain programs -----------------------------------------------------------

const char *claim_purpose_text(enum claim_purpose purpose)
{
    static const char *const texts[] = {"nobody", "a cluster", "a local mount", "fsck.lunfs",
                                        "mkfs.lunfs"};
    return (unsigned)purpose <= CLAIM_MKFS ? texts[purpose] : "somebody unknown";
}

void claim_users_to_text(const struct claim_users *users, struct text *text)
{
    for (uint32_t i = 0; i < users->count; i++) {
        const struct claim_user *user = &users->users[i];
        const char *name = user->name[0] != '\0' ? user->name : "unknown";
        const char *comma = i > 0 ? ", " : "";
        if (user->is_slot)
            text_add(text, "%snode %s (slot %u)", comma, name, user->slot);
        else
            text_add(text, "%s%s on host %s", comma, claim_purpose_text(user->purpose), name);
    }
}

static uint64_t system_boot_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int64_t system_wall_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void system_wait_ns(void *context, uint64_t ns)
{
    struct timespec left = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    (void)context;
    while (nanosleep(&left, &left) != 0)
        continue;
}

struct claim_clock claim_clock_system(void)
{
    return (struct claim_clock){
        .boot_ns = system_boot_ns, .wall_ns = system_wall_ns, .wait_ns = system_wait_ns};
}
