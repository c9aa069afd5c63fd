// SPDX-License-Identifier: Apache-2.0
// The ordered messages of the membership and the guards' word, from their decoders into a machine
// that goes through the life of a node meanwhile: it joins, founds or is let in, fences, replays.
//
//   script: steps to the end, each a kind and its arguments
//
// What must hold beside "no crash": what was decoded says the same when it is encoded again.
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_guard_message.h"
#include "dlm/membership_message.h"
#include "fs/base/check.h"
#include "tests/fuzz/fuzz.h"

enum step_kind {
    STEP_MESSAGE,  // from, type, is of this ring; length / 4, body
    STEP_RAW,      // from, length (2), bytes
    STEP_RING,     // nothing: the next ring of the same nodes
    STEP_QUORUM,   // is quorate
    STEP_GROUP,    // members
    STEP_DRAINED,  // bytes
    STEP_TICK,     // seconds
    STEP_STRANGER, // node, slot, incarnation
    STEP_COUNT,
};

enum { SELF = 1, PID = 10, NODE_COUNT = 3, SLOT_COUNT = 4, STEPS_MAX = 64, SENDS_MAX = 64 };
enum { BODY_OFFSET = 48 };
enum { MARK_REFUSED, MARK_VIEW = MEMBERSHIP_MESSAGE_TYPE_COUNT, MARK_DRAINED };

static const char *const marks[] = {
    "a refusal", "START",    "SYNC",     "ACK",    "FOUND",          "JOIN",
    "PROVED",    "SEEN",     "LEAVING",  "EXPEL",  "FENCED",         "RECOVERED",
    "LINK",      "FEATURES", "STRANGER", "a view", "a guard's word", NULL,
};

static const uint8_t format_id[16] = "a volume to fuzz";

// What the machine has sent comes back in order.
struct sent {
    uint8_t *bytes;
    size_t length;
};

struct cluster {
    struct membership *machine;
    struct membership_effects effects;
    struct membership_ring ring;
    uint32_t round_number;
    uint64_t now_ns;
    struct sent queue[SENDS_MAX];
    unsigned sent_count;
    bool has_ended;
    uint64_t reached;
};

// --- the machine -----------------------------------------------------------------------------

static void answer(struct cluster *cluster, const struct membership_effect *effect);

static void step_machine(struct cluster *cluster, struct membership_event event)
{
    static const struct membership_words words = {0};
    struct membership_effect *effects;
    size_t count;
    char room[1024];
    struct text text;
    if (cluster->has_ended)
        return;
    event.now_ns = cluster->now_ns;
    membership_step(cluster->machine, &event, &cluster->effects);
    count = cluster->effects.count;
    effects = malloc((count + 1) * sizeof(*effects));
    CHECK(effects != NULL);
    for (size_t i = 0; i < count; i++) {
        const struct membership_effect *effect = &cluster->effects.items[i];
        effects[i] = *effect;
        text_init(&text, room, sizeof(room));
        membership_effect_to_text(effect, &text);
        if (effect->type == MEMBERSHIP_EFFECT_SEND && cluster->sent_count < SENDS_MAX) {
            struct sent *sent = &cluster->queue[cluster->sent_count++];
            sent->length = effect->send.length;
            sent->bytes = malloc(sent->length);
            CHECK(sent->bytes != NULL);
            memcpy(sent->bytes, membership_effects_bytes(&cluster->effects, effect), sent->length);
        }
    }
    text_init(&text, room, sizeof(room));
    membership_view_to_text(membership_view_get(cluster->machine), &text);
    membership_status_to_text(cluster->machine, &words, &text);
    for (size_t i = 0; i < count; i++)
        answer(cluster, &effects[i]);
    free(effects);
}

static void answer_node(struct cluster *cluster, enum membership_event_type type,
                        const struct membership_effect *effect)
{
    struct membership_event event = {.type = type, .node = effect->node};
    if (effect->type == MEMBERSHIP_EFFECT_FENCE)
        event.node = effect->fence.node;
    step_machine(cluster, event);
}

// Every fact that the machine asks for comes at once.
static void answer(struct cluster *cluster, const struct membership_effect *effect)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_FOUNDED};
    switch (effect->type) {
    case MEMBERSHIP_EFFECT_FOUND:
        step_machine(cluster, event);
        break;
    case MEMBERSHIP_EFFECT_SLOT_ASSIGNED:
        event.type = MEMBERSHIP_EVENT_LUN_PROVED;
        step_machine(cluster, event);
        break;
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
        answer_node(cluster, MEMBERSHIP_EVENT_LUN_SEEN, effect);
        break;
    case MEMBERSHIP_EFFECT_FENCE:
        answer_node(cluster, MEMBERSHIP_EVENT_FENCED, effect);
        break;
    case MEMBERSHIP_EFFECT_REPLAY:
        answer_node(cluster, MEMBERSHIP_EVENT_REPLAYED, effect);
        break;
    case MEMBERSHIP_EFFECT_CHECK_MAILBOX:
        event.type = MEMBERSHIP_EVENT_MAILBOX_CLEAN;
        step_machine(cluster, event);
        break;
    case MEMBERSHIP_EFFECT_VIEW:
        cluster->reached |= UINT64_C(1) << MARK_VIEW;
        break;
    case MEMBERSHIP_EFFECT_ENDED:
    case MEMBERSHIP_EFFECT_LEFT:
        cluster->has_ended = true;
        break;
    default:
        break;
    }
}

static void deliver(struct cluster *cluster, uint32_t node_id, const uint8_t *bytes, size_t length)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_DELIVERED};
    uint8_t *exact = malloc(length > 0 ? length : 1); // its end is the sanitiser's border
    CHECK(exact != NULL);
    memcpy(exact, bytes, length);
    event.delivered.from = (struct membership_process){node_id, PID};
    event.delivered.bytes = exact;
    event.delivered.length = length;
    step_machine(cluster, event);
    free(exact);
}

static void deliver_own(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->sent_count; i++) {
        struct sent sent = cluster->queue[i];
        deliver(cluster, SELF, sent.bytes, sent.length);
        free(sent.bytes);
    }
    cluster->sent_count = 0;
}

// --- messages --------------------------------------------------------------------------------

static void check_decoding(struct cluster *cluster, const uint8_t *bytes, size_t length)
{
    struct membership_message *message = malloc(2 * sizeof(*message));
    uint8_t *first = malloc(2 * MEMBERSHIP_MESSAGE_BYTES_MAX);
    CHECK(message != NULL && first != NULL);
    uint8_t *second = first + MEMBERSHIP_MESSAGE_BYTES_MAX;
    if (membership_message_decode(&message[0], format_id, bytes, length) != 0) {
        cluster->reached |= UINT64_C(1) << MARK_REFUSED;
    } else {
        cluster->reached |= UINT64_C(1) << message[0].type;
        size_t written = membership_message_encode(&message[0], format_id, first);
        CHECK(written == length);
        CHECK(membership_message_decode(&message[1], format_id, first, written) == 0);
        CHECK(membership_message_encode(&message[1], format_id, second) == written);
        CHECK(memcmp(first, second, written) == 0);
    }
    free(first);
    free(message);
}

static size_t put_number(uint8_t *bytes, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    return width;
}

// The encoder writes the head, for a message whose body it can write from zeros.
static void put_head(const struct cluster *cluster, uint8_t type, bool is_of_this_ring,
                     uint8_t *bytes)
{
    uint8_t *room = calloc(1, MEMBERSHIP_MESSAGE_BYTES_MAX);
    struct membership_message *message = calloc(1, sizeof(*message));
    CHECK(room != NULL && message != NULL);
    message->type = MEMBERSHIP_MESSAGE_ACK;
    message->ring = cluster->ring;
    message->round.starter = (struct membership_process){SELF, PID};
    message->round.number = cluster->round_number;
    if (!is_of_this_ring)
        message->ring.sequence--;
    membership_message_encode(message, format_id, room);
    memcpy(bytes, room, BODY_OFFSET);
    put_number(bytes + 6, type, 2);
    free(message);
    free(room);
}

static void step_message(struct cluster *cluster, struct fuzz_script *script)
{
    uint8_t bytes[BODY_OFFSET + 4 * 255];
    uint32_t from = 1 + fuzz_take_byte(script) % NODE_COUNT;
    uint8_t type = fuzz_take_byte(script), is_of_this_ring = fuzz_take_byte(script);
    size_t length = 4 * (size_t)fuzz_take_byte(script);
    size_t cut = is_of_this_ring >> 4 & 3; // bodies are not multiples of 4 all
    cluster->round_number = is_of_this_ring >> 6;
    put_head(cluster, type, (is_of_this_ring & 1) != 0, bytes);
    fuzz_take(script, bytes + BODY_OFFSET, length);
    length = length > cut ? length - cut : length;
    check_decoding(cluster, bytes, BODY_OFFSET + length);
    deliver(cluster, from, bytes, BODY_OFFSET + length);
}

static void step_raw(struct cluster *cluster, struct fuzz_script *script)
{
    uint8_t bytes[4096];
    uint32_t from = 1 + fuzz_take_byte(script) % NODE_COUNT;
    size_t length = fuzz_take_u16(script) % (sizeof(bytes) + 1);
    fuzz_take(script, bytes, length);
    check_decoding(cluster, bytes, length);
    deliver(cluster, from, bytes, length);
}

// --- corosync's other callbacks ----------------------------------------------------------------

static void group_changes(struct cluster *cluster, unsigned bits)
{
    struct membership_process members[NODE_COUNT];
    struct membership_event event = {.type = MEMBERSHIP_EVENT_GROUP, .group = {.members = members}};
    for (uint32_t i = 1; i <= NODE_COUNT; i++) {
        if (i == SELF || (bits & 1u << i) != 0)
            members[event.group.member_count++] = (struct membership_process){i, PID};
    }
    step_machine(cluster, event);
}

static void ring_changes(struct cluster *cluster)
{
    cluster->ring.sequence += 4;
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RING, .ring = cluster->ring};
    step_machine(cluster, event);
}

static void quorum_changes(struct cluster *cluster, bool is_quorate)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_QUORUM};
    event.quorum.ring = cluster->ring;
    event.quorum.is_quorate = is_quorate;
    step_machine(cluster, event);
}

static void step_ring(struct cluster *cluster, struct fuzz_script *script)
{
    (void)script;
    ring_changes(cluster);
}

static void step_quorum(struct cluster *cluster, struct fuzz_script *script)
{
    quorum_changes(cluster, (fuzz_take_byte(script) & 1) != 0);
}

static void step_group(struct cluster *cluster, struct fuzz_script *script)
{
    group_changes(cluster, fuzz_take_byte(script));
}

static void step_drained(struct cluster *cluster, struct fuzz_script *script)
{
    struct guard_drained_wire wire;
    struct membership_event event = {.type = MEMBERSHIP_EVENT_DRAINED};
    fuzz_take(script, &wire, sizeof(wire));
    if (guard_drained_decode(&wire, sizeof(wire), &event.drained.node, &event.drained.ring) != 0)
        return;
    CHECK(event.drained.node.slot < MEMBERSHIP_SLOTS_MAX);
    event.drained.node.node_id = 2;
    cluster->reached |= UINT64_C(1) << MARK_DRAINED;
    step_machine(cluster, event);
}

static void step_tick(struct cluster *cluster, struct fuzz_script *script)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_TICK};
    cluster->now_ns += (uint64_t)fuzz_take_byte(script) * 1000000000;
    step_machine(cluster, event);
}

static void step_stranger(struct cluster *cluster, struct fuzz_script *script)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_STRANGER};
    event.node.node_id = fuzz_take_byte(script);
    event.node.slot = fuzz_take_byte(script) % SLOT_COUNT;
    event.node.incarnation = fuzz_take_byte(script);
    if (!membership_knows(cluster->machine, event.node.node_id, event.node.incarnation))
        step_machine(cluster, event);
}

static void (*const steps[STEP_COUNT])(struct cluster *cluster, struct fuzz_script *script) = {
    [STEP_MESSAGE] = step_message, [STEP_RAW] = step_raw,           [STEP_RING] = step_ring,
    [STEP_QUORUM] = step_quorum,   [STEP_GROUP] = step_group,       [STEP_DRAINED] = step_drained,
    [STEP_TICK] = step_tick,       [STEP_STRANGER] = step_stranger,
};

static void join(struct cluster *cluster)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_JOIN};
    event.join.incarnation = 5;
    event.join.slot_wish = MEMBERSHIP_NO_SLOT;
    event.join.slot_count = SLOT_COUNT;
    event.join.port = 1234;
    step_machine(cluster, event);
}

static uint64_t run(const uint8_t *bytes, size_t length)
{
    struct membership_config config = {
        .self = {SELF, PID}, .patience_ns = UINT64_C(5000000000), .version_max = 1};
    struct fuzz_script script = {bytes, length};
    struct cluster cluster = {.ring = {1, 8}, .now_ns = 1000000000};
    config.version_min = 1;
    memcpy(config.format_id, format_id, sizeof(config.format_id));
    cluster.machine = membership_new(&config);
    group_changes(&cluster, fuzz_take_byte(&script));
    ring_changes(&cluster);
    quorum_changes(&cluster, true);
    join(&cluster);
    for (unsigned i = 0; i < STEPS_MAX && (script.left > 0 || cluster.sent_count > 0); i++) {
        deliver_own(&cluster);
        if (script.left > 0)
            steps[fuzz_take_byte(&script) % STEP_COUNT](&cluster, &script);
    }
    for (unsigned i = 0; i < cluster.sent_count; i++)
        free(cluster.queue[i].bytes);
    membership_effects_deinit(&cluster.effects);
    membership_free(cluster.machine);
    return cluster.reached;
}

// --- seeds -----------------------------------------------------------------------------------

static struct membership_member some_member(uint32_t node_id)
{
    return (struct membership_member){.node_id = node_id,
                                      .pid = PID,
                                      .incarnation = 7 + node_id,
                                      .slot = node_id,
                                      .version_min = 1,
                                      .version_max = 1};
}

static void seed_message(struct membership_message *message)
{
    struct membership_state *state = &message->sync.state;
    switch (message->type) {
    case MEMBERSHIP_MESSAGE_SYNC:
        message->sync.has_state = true;
        message->sync.incarnation = 9;
        state->generation = 3;
        state->slot_count = SLOT_COUNT;
        state->view.epoch = 2;
        state->view.version = 1;
        state->view.member_count = 1;
        state->view.members[0] = some_member(2);
        state->view.dead_count = 1;
        state->view.dead[0] = (struct membership_dead){.node_id = 3, .incarnation = 4, .slot = 3};
        break;
    case MEMBERSHIP_MESSAGE_FOUND:
        message->found.member = some_member(2);
        message->found.slot_count = SLOT_COUNT;
        break;
    case MEMBERSHIP_MESSAGE_JOIN:
        message->join.member = some_member(2);
        break;
    case MEMBERSHIP_MESSAGE_EXPEL:
        message->expel.process = (struct membership_process){3, PID};
        memcpy(message->expel.reason, "silent", 7);
        break;
    case MEMBERSHIP_MESSAGE_FEATURES:
        message->features.version = 1;
        break;
    default:
        break;
    }
}

// The script puts a body after a head of its own, in words of 4 bytes less what is cut off.
static size_t seed_of_type(unsigned type, uint8_t *bytes)
{
    uint8_t *room = calloc(1, MEMBERSHIP_MESSAGE_BYTES_MAX);
    struct membership_message *message = calloc(1, sizeof(*message));
    CHECK(room != NULL && message != NULL);
    message->type = (enum membership_message_type)type;
    seed_message(message);
    size_t body = membership_message_encode(message, format_id, room) - BODY_OFFSET;
    size_t words = (body + 3) / 4, at = 0;
    bytes[at++] = 0xe;
    bytes[at++] = STEP_MESSAGE;
    bytes[at++] = 1;
    bytes[at++] = (uint8_t)type;
    bytes[at++] = (uint8_t)(1 | (4 * words - body) << 4);
    bytes[at++] = (uint8_t)words;
    memcpy(bytes + at, room + BODY_OFFSET, body);
    free(message);
    free(room);
    return at + 4 * words;
}

static size_t seed(unsigned number, uint8_t *bytes)
{
    struct guard_drained_wire wire =
        guard_drained_make(2, 9, (struct membership_ring){.node_id = 1, .sequence = 12});
    if (number == MEMBERSHIP_MESSAGE_TYPE_COUNT) {
        bytes[1] = STEP_DRAINED;
        memcpy(bytes + 2, &wire, sizeof(wire));
        return 2 + sizeof(wire);
    }
    if (number > MEMBERSHIP_MESSAGE_TYPE_COUNT)
        return 0;
    if (number == 0) { // alone: it founds; then somebody comes
        static const uint8_t alone[] = {
            0, STEP_TICK, 1, STEP_TICK,    1, STEP_TICK, 9, STEP_GROUP, 6, STEP_RING, STEP_QUORUM,
            1, STEP_TICK, 9, STEP_MESSAGE, 2, 99,        1, 0};
        memcpy(bytes, alone, sizeof(alone));
        return sizeof(alone);
    }
    return seed_of_type(number, bytes);
}

const struct fuzz_target fuzz_target = {"membership", run, seed, marks};
