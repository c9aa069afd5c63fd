// SPDX-License-Identifier: Apache-2.0
// The promise that recovery is about, on one page that spin can walk through whole: a lock, the block
// under it, the journals, a view change, the fence, the replay, `recovered`, the next grant.
//
//   three nodes · one resource in the modes NL and EX · one block · a journal of one image a node
//   up to DEATHS nodes die, at any point, the recovering one too, in the middle of its replay
//   a dead node's write may land until it is fenced; frames are in order on each link; views and
//   `recovered` are in one order for all, and each node hears of them when it likes
//
// Names are those of the code (tests/model/run-model looks them up there): messages of dlm/message.h,
// states and fields of dlm/core.h, phases of dlm/membership.h. What is left out: shadows (they only make the
// assumption of rule 1 weaker), the other modes, value blocks, quorum, joins, sessions.
//
// What must hold:
//   - who gets EX reads the newest committed version, and nobody else has EX, dead ones included that
//     are not recovered (I1, I2)
//   - a replay never writes an older version over a newer one (I2)
//   - when nothing can happen any more, nobody waits (the end states)
//
// BREAK_x switches one rule off; each must be found (run-model).
#define NODES  3
#define ALL    7
#ifndef DEATHS
#define DEATHS 2
#endif
#define COMMITS_MAX 3

#define DLM_NL 0
#define DLM_EX 1
#define bit(node)       (1 << (node))
#define has(set, node)  (((set) >> (node)) & 1)
// Stands for rendezvous hashing: one place for each set of members, and it moves when its node goes.
#define lowest(set)     (has(set, 0) -> 0 : (has(set, 1) -> 1 : 2))
#define link_to(from, to) link[(from) * NODES + (to)]
#define is_sent(from, to) (len(link_to(from, to)) > 0)

mtype = { MESSAGE_REQUEST, MESSAGE_GRANT, MESSAGE_BLOCKING, MESSAGE_RELEASE, MESSAGE_HOLD,
          MESSAGE_READY };
mtype = { no_holder, HOLDER_WAITING, HOLDER_GRANTED };
mtype = { is_living, MEMBERSHIP_DEAD, MEMBERSHIP_FENCED, MEMBERSHIP_RECOVERED };

// --- the world -------------------------------------------------------------------------------

byte in_place = 1;          // version of the block on the LUN
byte committed = 1;         // ghost: the newest version that is durable anywhere
byte image[NODES];          // version of the live image in the slot's journal; 0: none
byte in_flight[NODES];      // version of a write to the block's place that has not landed; 0: none
mtype phase[NODES] = is_living;
byte deaths;

// Message, epoch of the sender, HOLD: what is granted.
chan link[NODES * NODES] = [6] of { mtype, byte, byte };

// What corosync orders: a view is its set of members, `recovered` of a node 8 and its number.
#define RECOVERED_OF(node) (8 + (node))
#define ORDERED_MAX 8
byte ordered[ORDERED_MAX];
byte ordered_count;
byte seen[NODES];           // how far each node has heard

// --- a node's state --------------------------------------------------------------------------

byte epoch[NODES] = 1;
byte members[NODES] = ALL;
byte dead[NODES];           // died and not recovered, as this node knows
byte moved_epoch[NODES] = 1; // the view since which the resource has its master
// asking side
byte granted[NODES];        // DLM_NL, DLM_EX
bool requested[NODES];      // a request is not answered yet
bool is_called_back[NODES];
byte cached[NODES];         // the block in memory; 0: not read
bool has_asked[NODES];      // each node asks once
// granting side, of the node that is the master
mtype holder[NODES * NODES] = no_holder;
bool is_moving[NODES];
byte ready[NODES];          // members whose end-of-holders marker has come
byte assumed[NODES];        // DLM_EX: the dead may hold it, unknown to anyone (rule 1)
bool is_blocking_sent[NODES];

#define is_alive(i)   (phase[i] == is_living)
#define master(i)     lowest(members[i])
#define holds(m, i)   holder[(m) * NODES + (i)]
#define nobody_holds(m) (holds(m, 0) != HOLDER_GRANTED && holds(m, 1) != HOLDER_GRANTED && \
                         holds(m, 2) != HOLDER_GRANTED)
#define somebody_waits(m) (holds(m, 0) == HOLDER_WAITING || holds(m, 1) == HOLDER_WAITING || \
                           holds(m, 2) == HOLDER_WAITING)

// I1: whoever has EX has it alone; a node that died keeps what it had until it is recovered.
#define holds_still(i) (granted[i] == DLM_EX && phase[i] != MEMBERSHIP_RECOVERED)

inline send(from, to, what, held)
{
    assert(nfull(link_to(from, to)));
    link_to(from, to) ! what, epoch[from], held
}

// --- granting side -----------------------------------------------------------------------------

// What the master does when something has changed: grants if it can, calls the holder back if
// somebody waits behind it.
inline run_resource(m)
{
    if
    :: !is_moving[m] && somebody_waits(m) && nobody_holds(m) && assumed[m] == DLM_NL ->
        n = 0;
        do
        :: holds(m, n) == HOLDER_WAITING -> break
        :: else -> n++
        od;
        holds(m, n) = HOLDER_GRANTED;
        is_blocking_sent[m] = false;
        send(m, n, MESSAGE_GRANT, 0)
    :: else
    fi;
    if
    :: !is_moving[m] && somebody_waits(m) && !nobody_holds(m) && !is_blocking_sent[m] ->
        is_blocking_sent[m] = true;
        for (n : 0 .. NODES - 1) {
            if
            :: holds(m, n) == HOLDER_GRANTED && has(members[m], n) ->
                send(m, n, MESSAGE_BLOCKING, 0)
            :: else
            fi
        }
    :: else
    fi
}

// All members have told what they hold: what nobody told of may be the dead ones'.
inline settle(m)
{
    if
    :: is_moving[m] && (ready[m] & members[m]) == members[m] ->
        is_moving[m] = false;
        if
        :: !nobody_holds(m) -> assumed[m] = DLM_NL
        :: else
        fi
    :: else
    fi
}

// A message from before the resource moved here says nothing any more: its sender tells again.
#ifdef BREAK_8
#define is_current(i, said) ((said) == epoch[i])
#else
#define is_current(i, said) ((said) >= moved_epoch[i])
#endif

inline receive_as_master(i, from, type, said, mode)
{
    if
    :: type == MESSAGE_REQUEST && is_current(i, said) -> holds(i, from) = HOLDER_WAITING
    :: type == MESSAGE_RELEASE && is_current(i, said) ->
        holds(i, from) = no_holder;
        is_blocking_sent[i] = false
    :: type == MESSAGE_HOLD && mode == DLM_EX -> holds(i, from) = HOLDER_GRANTED
    :: type == MESSAGE_HOLD && mode == DLM_NL -> holds(i, from) = HOLDER_WAITING
    :: type == MESSAGE_READY -> ready[i] = ready[i] | bit(from)
    :: else
    fi;
    settle(i);
    run_resource(i)
}

// --- asking side -------------------------------------------------------------------------------

inline receive_grant(i)
{
    requested[i] = false;
    granted[i] = DLM_EX;
    assert(!holds_still((i + 1) % NODES) && !holds_still((i + 2) % NODES));
    cached[i] = in_place;
    assert(cached[i] == committed)
}

inline receive(i, from)
{
    link_to(from, i) ? type, said, mode;
    do
    :: said > epoch[i] -> hear(i)
    :: else -> break
    od;
    if
    :: !has(members[i], from) // a life that is not in the view
    :: has(members[i], from) && type == MESSAGE_GRANT && from == master(i) && requested[i] ->
        receive_grant(i)
    :: has(members[i], from) && type == MESSAGE_BLOCKING ->
        is_called_back[i] = (granted[i] == DLM_EX)
    :: else -> receive_as_master(i, from, type, said, mode)
    fi;
    type = 0; said = 0; mode = 0; n = 0; from = 0
}

// --- views and `recovered` ---------------------------------------------------------------------

inline tell_new_master(i)
{
    if
    :: granted[i] == DLM_EX -> send(i, master(i), MESSAGE_HOLD, DLM_EX)
    :: granted[i] == DLM_NL && requested[i] -> send(i, master(i), MESSAGE_HOLD, DLM_NL)
    :: else
    fi;
    send(i, master(i), MESSAGE_READY, 0)
}

inline become_master(i)
{
    for (n : 0 .. NODES - 1) {
        holds(i, n) = no_holder
    }
    is_blocking_sent[i] = false;
    ready[i] = 0;
#ifdef BREAK_READY
    ready[i] = ALL;
#endif
    is_moving[i] = true;
#ifdef BREAK_1
    assumed[i] = DLM_NL
#else
    assumed[i] = DLM_EX
#endif
}

// The dead keep what they hold; what they wait for goes with them.
inline forget_waiters(i)
{
    for (n : 0 .. NODES - 1) {
        if
        :: !has(members[i], n) && holds(i, n) == HOLDER_WAITING -> holds(i, n) = no_holder
        :: else
        fi
    }
}

inline install_view(i, view)
{
    before = master(i);
    dead[i] = dead[i] | (members[i] & ~view);
    members[i] = view;
    epoch[i]++;
    if
    :: before != master(i) ->
        moved_epoch[i] = epoch[i];
        is_called_back[i] = false;
        if
        :: master(i) == i -> become_master(i)
        :: else
        fi;
        tell_new_master(i)
    :: before == master(i) && master(i) == i ->
        forget_waiters(i);
        if
#ifndef BREAK_SECOND
        :: is_moving[i] -> assumed[i] = DLM_EX // who died now may not have told what it held
#endif
        :: else
        fi
    :: else
    fi;
    if
    :: master(i) == i -> settle(i); run_resource(i)
    :: else
    fi;
    before = 0
}

inline install_recovered(i, node)
{
    dead[i] = dead[i] & ~bit(node);
    if
    :: master(i) == i ->
        holds(i, node) = no_holder;
        is_blocking_sent[i] = false;
        if
        :: dead[i] == 0 -> assumed[i] = DLM_NL
        :: else
        fi;
        run_resource(i)
    :: else
    fi
}

// --- recovery: what the recoverer of `node` does next --------------------------------------------

#define recovers(i, node) (is_alive(i) && has(dead[i], node) && lowest(members[i]) == i && \
                           phase[node] != MEMBERSHIP_RECOVERED)

inline announce(what)
{
    assert(ordered_count < ORDERED_MAX);
    ordered[ordered_count] = what;
    ordered_count++
}

inline finish(victim)
{
    phase[victim] = MEMBERSHIP_RECOVERED;
    announce(RECOVERED_OF(victim))
}

// The fence ends what the dead node had in flight. Replay writes the newest image, and checks first
// that what stands there is not newer; the clean mark comes after it.
inline recover(i, victim)
{
    if
    :: phase[victim] == MEMBERSHIP_DEAD ->
        phase[victim] = MEMBERSHIP_FENCED;
#ifndef BREAK_FENCE
        in_flight[victim] = 0
#endif
#ifdef BREAK_REPLAY
    :: phase[victim] == MEMBERSHIP_FENCED -> finish(victim)
#else
    :: phase[victim] == MEMBERSHIP_FENCED && image[victim] > in_place -> in_place = image[victim]
    :: phase[victim] == MEMBERSHIP_FENCED && image[victim] == in_place -> image[victim] = 0
    :: phase[victim] == MEMBERSHIP_FENCED && image[victim] == 0 -> finish(victim)
    :: phase[victim] == MEMBERSHIP_FENCED && image[victim] != 0 && image[victim] < in_place ->
        assert(false) // LUNFS-1201: an older version would go over a newer one
#endif
    :: else
    fi
}

inline hear(i)
{
    entry = ordered[seen[i]];
    seen[i]++;
    if
    :: entry < RECOVERED_OF(0) -> install_view(i, entry)
    :: else -> install_recovered(i, entry - RECOVERED_OF(0))
    fi;
    entry = 0; n = 0
}

active [NODES] proctype node()
{
    byte i = _pid, n, from, before, said, mode, entry;
    mtype type;
end:
    do
    :: atomic { !is_alive(i) -> break }

    // Corosync, then frames: one of a later epoch waits until its view is installed here.
    :: atomic { is_alive(i) && seen[i] < ordered_count -> hear(i) }
    :: atomic { is_alive(i) && (is_sent(0, i) || is_sent(1, i) || is_sent(2, i)) ->
        if
        :: is_sent(0, i) -> from = 0
        :: is_sent(1, i) -> from = 1
        :: is_sent(2, i) -> from = 2
        fi;
        receive(i, from) }

    // Asks once; commits under its lock while it is not called back.
    :: atomic { is_alive(i) && !has_asked[i] ->
        has_asked[i] = true;
        requested[i] = true;
        send(i, master(i), MESSAGE_REQUEST, 0) }
    :: atomic { is_alive(i) && granted[i] == DLM_EX && cached[i] != 0 && image[i] == 0 &&
                in_flight[i] == 0 && committed < COMMITS_MAX ->
        committed++;
        cached[i] = committed;
        image[i] = committed }

    // Gives the lock up: in place, then the retire, then the release (rule 6).
    :: atomic { is_alive(i) && is_called_back[i] && image[i] > in_place && in_flight[i] == 0 ->
        in_flight[i] = image[i] }
    :: atomic { is_alive(i) && in_flight[i] != 0 -> in_place = in_flight[i]; in_flight[i] = 0 }
#ifndef BREAK_6
    :: atomic { is_alive(i) && is_called_back[i] && image[i] != 0 && image[i] == in_place &&
                in_flight[i] == 0 ->
        image[i] = 0 }
    :: atomic { is_alive(i) && is_called_back[i] && image[i] == 0 && in_flight[i] == 0 ->
#else
    :: atomic { is_alive(i) && is_called_back[i] && in_flight[i] == 0 &&
                (image[i] == 0 || image[i] == in_place) ->
#endif
        is_called_back[i] = false;
        granted[i] = DLM_NL;
        cached[i] = 0;
        send(i, master(i), MESSAGE_RELEASE, 0) }

    // The recoverer: fence, replay, clean mark, `recovered`; another one goes on where it stopped.
    :: atomic { recovers(i, 0) || recovers(i, 1) || recovers(i, 2) ->
        if
        :: recovers(i, 0) -> from = 0
        :: recovers(i, 1) -> from = 1
        :: recovers(i, 2) -> from = 2
        fi;
        recover(i, from);
        from = 0 }
    od
}

#define living() ((is_alive(0) -> 1 : 0) | (is_alive(1) -> 2 : 0) | (is_alive(2) -> 4 : 0))
#ifdef BREAK_FENCE
#define may_land(i) (!is_alive(i) && in_flight[i] != 0)
#else
#define may_land(i) (phase[i] == MEMBERSHIP_DEAD && in_flight[i] != 0)
#endif

inline kill(victim)
{
    phase[victim] = MEMBERSHIP_DEAD;
    deaths++
}

inline lands_late(victim)
{
    in_place = in_flight[victim];
    in_flight[victim] = 0
}

// Nodes die; those who are left hear of it in a view, of several at once or one after the other.
active proctype environment()
{
    byte survivors = ALL;
end:
    do
    :: atomic { deaths < DEATHS && is_alive(0) -> kill(0) }
    :: atomic { deaths < DEATHS && is_alive(1) -> kill(1) }
    :: atomic { deaths < DEATHS && is_alive(2) -> kill(2) }
    :: deaths < DEATHS -> deaths = DEATHS // no more of them
    :: atomic { survivors != living() ->
        survivors = living();
        announce(survivors) }
    // What a dead node had on its way lands late.
    :: atomic { may_land(0) -> lands_late(0) }
    :: atomic { may_land(1) -> lands_late(1) }
    :: atomic { may_land(2) -> lands_late(2) }
    od
}

// Whoever lives has got what it asked for.
#define is_served(i) (!is_alive(i) || (has_asked[i] && !requested[i]))

active proctype witness()
{
end:
    timeout -> assert(is_served(0) && is_served(1) && is_served(2))
}
