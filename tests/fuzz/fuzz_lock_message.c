// SPDX-License-Identifier: Apache-2.0
// What a peer sends on the lock mesh: the hello, session frames, and frames of messages, which go
// to a lock core that lives on meanwhile: it asks for locks, views come and go. A member has proved
// that it knows the key, but not that it is sane, so whatever it sends must leave the core
// standing.
//
//   script: steps to the end, each a kind and its arguments
#include <stdlib.h>
#include <string.h>

#include "dlm/message.h"
#include "dlm/session.h"
#include "fs/base/check.h"
#include "tests/fuzz/fuzz.h"

enum step_kind {
    STEP_RAW_FRAME, // length (2), bytes
    STEP_FRAME,     // flags, number of messages; for each its type, its length / 8, its body
    STEP_REQUEST,   // cookie, name, mode
    STEP_RELEASE,   // cookie
    STEP_RANGE,     // cookie, name, first byte, bits: exclusive, wait
    STEP_VIEW,      // members, who of the missing has died
    STEP_RECOVERED, // node
    STEP_HELLO,     // bytes
    STEP_SESSION,   // length (2), ack
    STEP_COUNT,
};

enum frame_flags { FROM_THIRD = 1, IN_OLD_EPOCH = 2, IN_NEXT_EPOCH = 4 };

enum {
    SELF = 1,
    NODE_COUNT = 3,
    COOKIE_COUNT = 8,
    NAME_COUNT = 8,
    STEPS_MAX = 64,
    FRAME_BYTES_MAX = 4096,
    MESSAGE_BYTES_MAX = 2048,
};

enum { MARK_REFUSED, MARK_HELLO = MESSAGE_TYPE_COUNT, MARK_SESSION };
static const char *const marks[] = {
    "a frame that is refused",
    "REQUEST",
    "CONVERT",
    "RELEASE",
    "CANCEL",
    "GRANT",
    "DENIED",
    "BLOCKING",
    "HOLD",
    "RANGE_LOCK",
    "RANGE_TEST",
    "RANGE_UNLOCK",
    "RANGE_CANCEL",
    "RANGE_RESULT",
    "RANGE_HOLD",
    "PROBE_OWNER",
    "PROBE_WAITER",
    "DEADLOCK",
    "RULE",
    "READY",
    "NOTE",
    "NOTED",
    "a hello that is taken",
    "a session frame that is delivered",
    NULL,
};

enum lock_state { LOCK_FREE, LOCK_PENDING, LOCK_HELD };

struct mesh {
    struct dlm_core *core;
    struct lamport_clock clock;
    struct dlm_effects effects;
    struct session *session;
    uint64_t epoch;
    unsigned members, dead; // bit i: node i
    uint64_t incarnations[NODE_COUNT + 1];
    enum lock_state locks[COOKIE_COUNT];
    bool is_range_pending[COOKIE_COUNT];
    uint64_t reached;
};

// --- the core --------------------------------------------------------------------------------

static void take_effects(struct mesh *mesh)
{
    for (size_t i = 0; i < mesh->effects.count; i++) {
        const struct dlm_effect *effect = &mesh->effects.items[i];
        if (effect->type == DLM_EFFECT_GRANT) {
            CHECK(effect->grant.cookie < COOKIE_COUNT);
            mesh->locks[effect->grant.cookie] = LOCK_HELD;
        } else if (effect->type == DLM_EFFECT_DENIED) {
            CHECK(effect->denied.cookie < COOKIE_COUNT);
            mesh->locks[effect->denied.cookie] = LOCK_FREE;
        } else if (effect->type == DLM_EFFECT_RANGE_RESULT) {
            CHECK(effect->range_result.cookie < COOKIE_COUNT);
            mesh->is_range_pending[effect->range_result.cookie] = false;
        } else if (effect->type == DLM_EFFECT_BAD_FRAME) {
            mesh->reached |= UINT64_C(1) << MARK_REFUSED;
        }
    }
}

static void step_core(struct mesh *mesh, const struct dlm_event *event)
{
    CHECK(dlm_core_step(mesh->core, event, 1, &mesh->effects) == 1);
    take_effects(mesh);
    while (dlm_core_is_busy(mesh->core) || dlm_core_has_more_to_say(mesh->core)) {
        dlm_core_step(mesh->core, NULL, 0, &mesh->effects);
        take_effects(mesh);
    }
}

static struct dlm_node node_of(const struct mesh *mesh, uint32_t node_id)
{
    return (struct dlm_node){node_id, mesh->incarnations[node_id]};
}

// --- frames ----------------------------------------------------------------------------------

static void deliver(struct mesh *mesh, struct dlm_node from, const uint8_t *bytes, size_t length)
{
    struct dlm_event event = {.type = DLM_EVENT_FRAME};
    uint8_t *exact = malloc(length > 0 ? length : 1); // its end is the sanitiser's border
    CHECK(exact != NULL);
    memcpy(exact, bytes, length);
    event.frame = (struct dlm_frame){from, exact, length};
    step_core(mesh, &event);
    free(exact);
}

static void note_types(struct mesh *mesh, const uint8_t *bytes, size_t length)
{
    struct frame_header header;
    char room[256];
    if (message_frame_verify(bytes, length, &header) != 0)
        return;
    size_t at = sizeof(struct frame_header_wire);
    for (uint32_t i = 0; i < header.message_count; i++) {
        const struct message_header_wire *message = (const void *)(bytes + at);
        struct text text;
        text_init(&text, room, sizeof(room));
        message_to_text(message, &text);
        mesh->reached |= UINT64_C(1) << le16_get(message->type);
        at += le16_get(message->length);
    }
}

static void step_raw_frame(struct mesh *mesh, struct fuzz_script *script)
{
    _Alignas(8) uint8_t bytes[FRAME_BYTES_MAX];
    size_t length = fuzz_take_u16(script) % (FRAME_BYTES_MAX + 1);
    fuzz_take(script, bytes, length);
    note_types(mesh, bytes, length);
    deliver(mesh, node_of(mesh, 2), bytes, length);
}

static size_t put_message(struct fuzz_script *script, uint8_t *bytes)
{
    uint8_t type = fuzz_take_byte(script);
    size_t length = 8 * (1 + (size_t)fuzz_take_byte(script));
    struct message_header_wire header = message_header_make((enum message_type)type, length);
    memcpy(bytes, &header, sizeof(header));
    fuzz_take(script, bytes + sizeof(header), length - sizeof(header));
    return length;
}

static void step_frame(struct mesh *mesh, struct fuzz_script *script)
{
    _Alignas(8) uint8_t bytes[FRAME_BYTES_MAX];
    uint8_t flags = fuzz_take_byte(script);
    uint32_t from = (flags & FROM_THIRD) != 0 ? 3 : 2;
    struct frame_header header = {.sender = node_of(mesh, from),
                                  .epoch = mesh->epoch + ((flags & IN_NEXT_EPOCH) != 0) -
                                           ((flags & IN_OLD_EPOCH) != 0),
                                  .lamport = mesh->clock.now + 1,
                                  .message_count = fuzz_take_byte(script) % 8};
    size_t at = sizeof(struct frame_header_wire);
    uint32_t count = 0;
    while (count < header.message_count && at + MESSAGE_BYTES_MAX + 8 <= sizeof(bytes)) {
        at += put_message(script, bytes + at);
        count++;
    }
    header.message_count = count;
    message_frame_header_encode(&header, bytes);
    note_types(mesh, bytes, at);
    deliver(mesh, header.sender, bytes, at);
}

// --- what this node does meanwhile -------------------------------------------------------------

static struct lock_name take_name(struct fuzz_script *script)
{
    return (struct lock_name){1, fuzz_take_byte(script) % NAME_COUNT};
}

static void step_request(struct mesh *mesh, struct fuzz_script *script)
{
    uint8_t cookie = fuzz_take_byte(script) % COOKIE_COUNT;
    struct dlm_event event = {.type = DLM_EVENT_REQUEST};
    event.request.cookie = cookie;
    event.request.name = take_name(script);
    event.request.mode = fuzz_take_byte(script) % DLM_MODE_COUNT;
    if (mesh->locks[cookie] != LOCK_FREE)
        return;
    mesh->locks[cookie] = LOCK_PENDING;
    step_core(mesh, &event);
}

static void step_release(struct mesh *mesh, struct fuzz_script *script)
{
    uint8_t cookie = fuzz_take_byte(script) % COOKIE_COUNT;
    struct dlm_event event = {.type = DLM_EVENT_RELEASE, .release = {.cookie = cookie}};
    if (mesh->locks[cookie] == LOCK_PENDING) {
        event = (struct dlm_event){.type = DLM_EVENT_CANCEL, .cancel = {.cookie = cookie}};
    } else if (mesh->locks[cookie] == LOCK_FREE) {
        return;
    } else {
        mesh->locks[cookie] = LOCK_FREE;
    }
    step_core(mesh, &event);
}

static void step_range(struct mesh *mesh, struct fuzz_script *script)
{
    uint8_t cookie = fuzz_take_byte(script) % COOKIE_COUNT;
    struct dlm_event event = {.type = DLM_EVENT_RANGE_LOCK};
    event.range_lock.name = take_name(script);
    uint8_t start = fuzz_take_byte(script), bits = fuzz_take_byte(script);
    event.range_lock.cookie = cookie;
    event.range_lock.wait = (bits & 2) != 0;
    event.range_lock.range = (struct dlm_range){
        .owner = bits >> 4, .start = start, .end = (uint64_t)start + 10, .type = bits & 1};
    if (mesh->is_range_pending[cookie])
        return;
    mesh->is_range_pending[cookie] = true;
    step_core(mesh, &event);
}

// Who is missing has died or left; who comes back is another life. A dead node's next life joins
// only once the dead one is recovered.
static void step_view(struct mesh *mesh, struct fuzz_script *script)
{
    unsigned members = (fuzz_take_byte(script) & 0xe & ~mesh->dead) | 1u << SELF;
    unsigned died = fuzz_take_byte(script) & mesh->members & ~members;
    struct dlm_view view = {.epoch = mesh->epoch + 1};
    mesh->dead |= died;
    for (uint32_t i = 1; i <= NODE_COUNT; i++) {
        if ((members & ~mesh->members & 1u << i) != 0 && mesh->epoch > 0)
            mesh->incarnations[i]++;
        if ((members & 1u << i) != 0)
            view.members[view.member_count++] = node_of(mesh, i);
        if ((mesh->dead & 1u << i) != 0)
            view.dead[view.dead_count++] = node_of(mesh, i);
    }
    mesh->members = members;
    mesh->epoch++;
    struct dlm_event event = {.type = DLM_EVENT_VIEW, .view = &view};
    step_core(mesh, &event);
}

static void step_recovered(struct mesh *mesh, struct fuzz_script *script)
{
    uint32_t node = 1 + fuzz_take_byte(script) % NODE_COUNT;
    if ((mesh->dead & 1u << node) == 0)
        return;
    mesh->dead &= ~(1u << node);
    struct dlm_event event = {.type = DLM_EVENT_RECOVERED, .recovered = node_of(mesh, node)};
    step_core(mesh, &event);
}

// --- below the messages ------------------------------------------------------------------------

static void step_hello(struct mesh *mesh, struct fuzz_script *script)
{
    struct hello mine = {.sender = node_of(mesh, SELF),
                         .version_min = MESSAGE_VERSION_MIN,
                         .version_max = MESSAGE_VERSION,
                         .format_id = "a volume"};
    struct hello_wire wire;
    struct hello peer;
    uint16_t version;
    fuzz_take(script, &wire, sizeof(wire));
    if (message_hello_decode(&wire, &mine, &peer, &version) != 0)
        return;
    CHECK(version >= MESSAGE_VERSION_MIN && version <= MESSAGE_VERSION);
    mesh->reached |= UINT64_C(1) << MARK_HELLO;
    session_disconnect(mesh->session);
    session_connect(mesh->session, peer.session_received);
}

static void step_session(struct mesh *mesh, struct fuzz_script *script)
{
    struct session_frame_wire wire;
    const uint8_t *payload;
    size_t length;
    session_send(mesh->session, "payload", 8);
    while (session_next(mesh->session, &wire, &payload, &length))
        CHECK(length <= DLM_FRAME_BYTES_MAX);
    fuzz_take(script, &wire, sizeof(wire));
    if (session_frame_verify(&wire, &length) != 0)
        return;
    CHECK(length <= DLM_FRAME_BYTES_MAX);
    if (session_receive(mesh->session, &wire) == 1)
        mesh->reached |= UINT64_C(1) << MARK_SESSION;
}

static void (*const steps[STEP_COUNT])(struct mesh *mesh, struct fuzz_script *script) = {
    [STEP_RAW_FRAME] = step_raw_frame, [STEP_FRAME] = step_frame, [STEP_REQUEST] = step_request,
    [STEP_RELEASE] = step_release,     [STEP_RANGE] = step_range, [STEP_VIEW] = step_view,
    [STEP_RECOVERED] = step_recovered, [STEP_HELLO] = step_hello, [STEP_SESSION] = step_session,
};

static uint64_t run(const uint8_t *bytes, size_t length)
{
    static const struct session_config session = {.unacked_bytes_max = 65536};
    static const uint8_t everybody[] = {0xe, 0};
    struct fuzz_script script = {bytes, length}, first = {everybody, sizeof(everybody)};
    struct mesh mesh = {.incarnations = {0, 1, 1, 1}, .session = session_new(&session)};
    struct dlm_core_config config = {.self = node_of(&mesh, SELF), .clock = &mesh.clock};
    mesh.core = dlm_core_new(&config);
    session_connect(mesh.session, 0);
    step_view(&mesh, &first);
    for (unsigned i = 0; i < STEPS_MAX && script.left > 0; i++)
        steps[fuzz_take_byte(&script) % STEP_COUNT](&mesh, &script);
    dlm_effects_deinit(&mesh.effects);
    dlm_core_free(mesh.core);
    session_free(mesh.session);
    return mesh.reached;
}

// --- seeds -----------------------------------------------------------------------------------

// A valid body of each type, as far as zeros are not.
static size_t seed_message(enum message_type type, uint8_t *wire)
{
    static const uint16_t lengths[MESSAGE_TYPE_COUNT] = {
        [MESSAGE_REQUEST] = sizeof(struct message_request_wire),
        [MESSAGE_CONVERT] = sizeof(struct message_convert_wire),
        [MESSAGE_RELEASE] = sizeof(struct message_release_wire),
        [MESSAGE_CANCEL] = sizeof(struct message_cancel_wire),
        [MESSAGE_GRANT] = sizeof(struct message_grant_wire),
        [MESSAGE_DENIED] = sizeof(struct message_denied_wire),
        [MESSAGE_BLOCKING] = sizeof(struct message_blocking_wire),
        [MESSAGE_HOLD] = sizeof(struct message_hold_wire),
        [MESSAGE_RANGE_LOCK] = sizeof(struct message_range_lock_wire),
        [MESSAGE_RANGE_TEST] = sizeof(struct message_range_lock_wire),
        [MESSAGE_RANGE_UNLOCK] = sizeof(struct message_range_unlock_wire),
        [MESSAGE_RANGE_CANCEL] = sizeof(struct message_range_cancel_wire),
        [MESSAGE_RANGE_RESULT] = sizeof(struct message_range_result_wire),
        [MESSAGE_RANGE_HOLD] = sizeof(struct message_range_hold_wire),
        [MESSAGE_PROBE_OWNER] = sizeof(struct message_probe_owner_wire),
        [MESSAGE_PROBE_WAITER] = sizeof(struct message_probe_waiter_wire),
        [MESSAGE_DEADLOCK] = sizeof(struct message_deadlock_wire),
        [MESSAGE_RULE] = sizeof(struct message_rule_wire) + sizeof(struct node_wire),
        [MESSAGE_READY] = sizeof(struct message_ready_wire),
        [MESSAGE_NOTE] = sizeof(struct message_note_wire),
        [MESSAGE_NOTED] = sizeof(struct message_noted_wire),
    };
    struct node_wire node = message_node_make((struct dlm_node){2, 1});
    memset(wire, 0, MESSAGE_BYTES_MAX);
    if (type == MESSAGE_DENIED)
        ((struct message_denied_wire *)wire)->error = MESSAGE_ERROR_AGAIN;
    else if (type == MESSAGE_RANGE_CANCEL)
        ((struct message_range_cancel_wire *)wire)->error = MESSAGE_ERROR_CANCELED;
    else if (type == MESSAGE_HOLD || type == MESSAGE_RANGE_HOLD)
        ((struct message_hold_wire *)wire)->holder = node;
    else if (type == MESSAGE_PROBE_OWNER || type == MESSAGE_PROBE_WAITER)
        ((struct message_probe_owner_wire *)wire)->probe.node = node;
    else if (type == MESSAGE_RULE)
        ((struct message_rule_wire *)wire)->member_count = le32_make(1);
    if (type == MESSAGE_RULE)
        memcpy(wire + sizeof(struct message_rule_wire), &node, sizeof(node));
    if (type == MESSAGE_READY)
        ((struct message_ready_wire *)wire)->epoch = le64_make(1);
    return lengths[type];
}

static size_t seed_frame(enum message_type type, uint8_t *bytes)
{
    _Alignas(8) uint8_t wire[MESSAGE_BYTES_MAX];
    static const uint8_t before[] = {STEP_REQUEST, 0, 0, DLM_PR, STEP_RANGE, 0, 0, 0, 3,
                                     STEP_FRAME,   0, 1};
    size_t at = sizeof(before), length = seed_message(type, wire);
    memcpy(bytes, before, at);
    bytes[at++] = (uint8_t)type;
    bytes[at++] = (uint8_t)(length / 8 - 1);
    memcpy(bytes + at, wire + 8, length - 8);
    return at + length - 8;
}

static size_t seed_session(uint8_t *bytes)
{
    struct hello hello = {.sender = {2, 1},
                          .version_min = MESSAGE_VERSION_MIN,
                          .version_max = MESSAGE_VERSION,
                          .format_id = "a volume"};
    struct hello_wire wire;
    struct session_frame_wire frame = {.length = le32_make(64), .sequence = le64_make(1)};
    message_hello_encode(&hello, &wire);
    size_t at = 0;
    bytes[at++] = STEP_HELLO;
    memcpy(bytes + at, &wire, sizeof(wire));
    at += sizeof(wire);
    bytes[at++] = STEP_SESSION;
    memcpy(bytes + at, &frame, sizeof(frame));
    return at + sizeof(frame);
}

static size_t seed(unsigned number, uint8_t *bytes)
{
    static const uint8_t views[] = {STEP_REQUEST,
                                    0,
                                    1,
                                    DLM_EX,
                                    STEP_VIEW,
                                    2,
                                    8,
                                    STEP_RECOVERED,
                                    2,
                                    STEP_RELEASE,
                                    0,
                                    STEP_VIEW,
                                    0xe,
                                    0,
                                    STEP_RAW_FRAME,
                                    2,
                                    0,
                                    1,
                                    2};
    if (number == 0) {
        memcpy(bytes, views, sizeof(views));
        return sizeof(views);
    }
    if (number == MESSAGE_TYPE_COUNT)
        return seed_session(bytes);
    return number < MESSAGE_TYPE_COUNT ? seed_frame((enum message_type)number, bytes) : 0;
}

const struct fuzz_target fuzz_target = {"lock_message", run, seed, marks};
