/* test_record.c: every byte of every record belongs to exactly one field, the layout hash sees every field, and an extent every
 * record. */
#include "../record.h"

#include <stdio.h>
#include <string.h>

static int failures;

static void check(int holds, const char *what, const char *name)
{
    if (!holds) {
        fprintf(stderr, "test_record: %s: %s\n", name, what);
        failures++;
    }
}

static const uint32_t type_sizes[] = {[RECORD_U8] = 1, [RECORD_U32] = 4, [RECORD_U64] = 8, [RECORD_I64] = 8, [RECORD_F64] = 8};

static void every_byte_belongs_to_exactly_one_field(enum record_kind kind)
{
    unsigned char owners[RECORD_SIZE_MAX] = {0};
    uint32_t size = record_size(kind);
    check(size > 0 && size <= RECORD_SIZE_MAX, "size", record_name(kind));
    for (const struct record_field *field = record_fields(kind); field->name != NULL; field++) {
        check(field->offset <= size && field->size <= size - field->offset, "a field lies outside", field->name);
        if (field->type != RECORD_TEXT) {
            check(field->size == type_sizes[field->type], "a number has another size than its type", field->name);
            check(field->offset % field->size == 0, "a number is not aligned", field->name);
        }
        for (uint32_t at = field->offset; at < field->offset + field->size && at < RECORD_SIZE_MAX; at++)
            owners[at]++;
        for (const struct record_field *other = field + 1; other->name != NULL; other++)
            check(strcmp(field->name, other->name) != 0, "two fields have one name", field->name);
    }
    for (uint32_t at = 0; at < size; at++)
        check(owners[at] == 1, "a byte does not belong to exactly one field", record_name(kind));
}

static void every_kind_begins_with_the_head(enum record_kind kind)
{
    static const char *const head[] = {"seq", "exch_ns", "recv_ns", "conn", "flags", "instrument"};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        check(strcmp(record_fields(kind)[i].name, head[i]) == 0, "head field missing", head[i]);
    check(record_fields(kind)[0].offset == offsetof(struct record_head, seq), "seq is not first", record_name(kind));
}

static void layouts_differ_between_kinds(void)
{
    for (int a = 1; a < RECORD_KIND_COUNT; a++)
        for (int b = a + 1; b < RECORD_KIND_COUNT; b++)
            check(record_layout((enum record_kind)a) != record_layout((enum record_kind)b), "two kinds share a layout hash",
                  record_name((enum record_kind)a));
}

static void a_number_that_is_no_kind_has_nothing(int number)
{
    enum record_kind kind = (enum record_kind)number;
    check(record_fields(kind) == NULL, "fields", "no kind");
    check(record_name(kind) == NULL, "name", "no kind");
    check(record_size(kind) == 0, "size", "no kind");
    check(record_layout(kind) == 0, "layout", "no kind");
}

static void an_extent_is_that_of_all_records(void)
{
    struct mark marks[] = {
        {.head = {.exch_ns = 20, .flags = RECORD_LAST | RECORD_HEALED}},
        {.head = {.exch_ns = -3, .flags = RECORD_LAST}},
        {.head = {.exch_ns = 7, .flags = RECORD_LAST | RECORD_OPTION}},
    };
    struct record_extent all = record_extent_of(marks, sizeof *marks, 3), last = record_extent_of(marks + 2, sizeof *marks, 1);
    check(all.first_ns == -3 && all.last_ns == 20, "the times of three", "extent");
    check(all.any_flags == (RECORD_LAST | RECORD_HEALED | RECORD_OPTION) && all.all_flags == RECORD_LAST, "their flags", "extent");
    check(last.first_ns == 7 && last.last_ns == 7 && last.any_flags == last.all_flags, "one", "extent");
    struct record_extent none = record_extent_of(NULL, sizeof *marks, 0);
    check(none.first_ns > none.last_ns && none.any_flags == 0 && none.all_flags == UINT32_MAX, "none", "extent");
}

int main(void)
{
    for (int kind = 1; kind < RECORD_KIND_COUNT; kind++) {
        every_byte_belongs_to_exactly_one_field((enum record_kind)kind);
        every_kind_begins_with_the_head((enum record_kind)kind);
        check(record_layout((enum record_kind)kind) != 0, "layout", record_name((enum record_kind)kind));
    }
    layouts_differ_between_kinds();
    an_extent_is_that_of_all_records();
    a_number_that_is_no_kind_has_nothing(0);
    a_number_that_is_no_kind_has_nothing(RECORD_KIND_COUNT);
    a_number_that_is_no_kind_has_nothing(-1);
    a_number_that_is_no_kind_has_nothing(1 << 30);
    printf("test_record: %d kinds, every byte in exactly one field\n", RECORD_KIND_COUNT - 1);
    return failures != 0;
}
