// SPDX-License-Identifier: Apache-2.0
// docs/on-disk-format.md shows every field of every structure where it stands. Run from the
// repository's root, or with REPOSITORY set to it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/text.h"
#include "fs/format_fields.h"

static char *read_page(void)
{
    const char *repository = getenv("REPOSITORY");
    TEXT(path, 1024);
    text_add(&path, "%s/docs/on-disk-format.md", repository != NULL ? repository : ".");
    FILE *file = fopen(path.bytes, "r");
    if (file == NULL)
        fail_msg("%s cannot be read", path.bytes);
    char *page = calloc(1, 1 << 20);
    size_t length = fread(page, 1, (1 << 20) - 1, file);
    fclose(file);
    assert_true(length > 0 && length < (1 << 20) - 1);
    return page;
}

// A structure's table: the rows of its fields, one behind the other.
static void table_of(const struct format_structure *structure, struct text *table)
{
    for (size_t i = 0; i < structure->field_count; i++) {
        const struct format_field *field = &structure->fields[i];
        text_add(table, "| %u | %u", field->offset, field->width);
        if (field->count > 1)
            text_add(table, " x %u, every %u", field->count, field->stride);
        text_add(table, " | `%s` |\n", field->name);
    }
}

static void check_structure(const char *page, const struct format_structure *structure)
{
    TEXT(table, 8192);
    table_of(structure, &table);
    assert_false(table.truncated);
    if (strstr(page, table.bytes) == NULL)
        fail_msg("the page does not show %s as it is:\n%s", structure->name, table.bytes);
}

static void test_page_shows_every_structure(void **state)
{
    (void)state;
    char *page = read_page();
    const struct format_structure *structure;
    check_structure(page, format_structure_header());
    for (size_t i = 0; (structure = format_structure_at(i)) != NULL; i++)
        check_structure(page, structure);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_shows_every_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
