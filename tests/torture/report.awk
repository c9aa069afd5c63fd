# SPDX-License-Identifier: Apache-2.0
# The table of a torture. First file: turns, `KIND[+KIND] BEGIN_MS OVER_MS WELL_MS ENDED ,VICTIMS,`;
# second: `pause NODE END_MS LENGTH_MS`. A pause counts for the turn that it overlaps, and as one of
# the others if nothing was aimed at its node. Figures of a kind are of the turns that it had alone.
function insert(list, count, value,    i) {
    for (i = count; i > 0 && list[i] > value; i--) list[i + 1] = list[i]
    list[i + 1] = value
}
# Of the turns of that row: "median longest", in ms.
function spread(values, row,    i, count, sorted) {
    count = 0
    for (i = 1; i <= turns; i++)
        if (row_of[i] == row) insert(sorted, count++, values[i] + 0)
    return sprintf("%8d %8d", sorted[int((count + 1) / 2)], sorted[count])
}
function print_row(row, alone, all) {
    printf "%-22s %5d %5d %6d  %s  %s  %s\n", row, alone, all, ended[row],
        spread(others, row), spread(own, row), spread(well, row) | "sort"
}
FILENAME == ARGV[1] {
    turns = NR
    kind_count = split($1, kinds, "+")
    row_of[NR] = kind_count > 1 ? "(two at once)" : $1
    for (k = 1; k <= kind_count; k++) times[kinds[k]]++
    alone[row_of[NR]]++
    events += kind_count
    ended[row_of[NR]] += $5
    all_ended += $5
    well[NR] = $4 - $3
    begin[NR] = $2; end[NR] = $4; victims[NR] = $6
    next
}
{
    for (i = 1; i <= turns; i++) {
        if ($3 < begin[i] || $3 - $4 > end[i]) continue
        if (index(victims[i], "," $2 ",") > 0) {
            if ($4 > own[i]) own[i] = $4
        } else if ($4 > others[i]) others[i] = $4
    }
}
END {
    printf "%-22s %5s %5s %6s  %17s  %17s  %17s\n", "", "", "", "nodes", "longest pause of", "of those it was", "until all are"
    printf "%-22s %5s %5s %6s  %17s  %17s  %17s\n", "event", "alone", "all", "ended", "the others, ms", "aimed at, ms", "well again, ms"
    printf "%-22s %5s %5s %6s  %8s %8s  %8s %8s  %8s %8s\n", "", "", "", "", "median", "longest", "median", "longest", "median", "longest"
    for (kind in times)
        if (alone[kind] > 0) print_row(kind, alone[kind], times[kind])
        else printf "%-22s %5d %5d\n", kind, 0, times[kind] | "sort"
    if (alone["(two at once)"] > 0) print_row("(two at once)", alone["(two at once)"], 0)
    close("sort")
    printf "%d events, %d nodes ended and came back; a pause of less than 250 ms counts as 0\n", events, all_ended
}
