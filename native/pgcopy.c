/* pgcopy.c: see pgcopy.h. A row is int16 field count, then per field int32 length (-1: NULL) and the value, big-endian.
 *
 * A plan is turned into steps first (pgcopy_step.h), so that what can be known before the rows (words, constants, which fields
 * lie one behind the other, what the processor can do) is not found out for each of them. */
#include "pgcopy.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "pgcopy_step.h"
#include "record.h"

_Static_assert(sizeof PGCOPY_HEADER - 1 == PGCOPY_HEADER_SIZE, "the header has another size");
_Static_assert(sizeof PGCOPY_TRAILER - 1 == PGCOPY_TRAILER_SIZE, "the trailer has another size");

/* A plan made ready for many rows. Built for each call, at the cost of a few rows, so that nobody has to keep it. */
#define CELLS_MAX (PGCOPY_WORDS_MAX + PGCOPY_COLUMNS_MAX)
struct program {
    size_t step_count, cell_count;
    size_t row_max; /* pgcopy_row_max() */
    struct pgcopy_step steps[PGCOPY_COLUMNS_MAX + 2]; /* and add_asking()'s, and the end */
    struct pgcopy_cell cells[CELLS_MAX];
};

static void add_cell(struct program *program, const void *bytes, size_t length, bool null)
{
    assert(program->cell_count < CELLS_MAX && length <= PGCOPY_WORD_MAX);
    struct pgcopy_cell *cell = &program->cells[program->cell_count++];
    uint32_t length_field = __builtin_bswap32(null ? UINT32_MAX : (uint32_t)length);
    *cell = (struct pgcopy_cell){.size = 4 + (uint32_t)length};
    memcpy(cell->bytes, &length_field, sizeof length_field);
    memcpy(cell->bytes + 4, bytes, length);
}

static void add_cells(struct program *program, const struct pgcopy_column *column)
{
    if (column->type == PGCOPY_CONST_TEXT) {
        add_cell(program, column->constant, column->width, false);
    } else if (column->type == PGCOPY_CONST_INT4) {
        uint32_t number = __builtin_bswap32(column->argument);
        add_cell(program, &number, sizeof number, false);
    } else if (column->type == PGCOPY_ENUM_U8) {
        for (uint32_t i = 0; i < column->width; i++) {
            add_cell(program, column->words[i], strlen(column->words[i]), column->words[i][0] == '\0');
        }
        add_cell(program, "", 0, true);
    }
}

/* Does the column go on where the step ends? */
static bool continues(const struct pgcopy_step *step, const struct pgcopy_column *column)
{
    switch (column->type) {
    case PGCOPY_INT8_U64:
    case PGCOPY_FLOAT8:
        return step->type == column->type && column->offset == step->offset + 8 * step->count;
    case PGCOPY_CONST_TEXT:
    case PGCOPY_CONST_INT4:
        return step->type == PGCOPY_CONST_TEXT || step->type == PGCOPY_CONST_INT4;
    default:
        return false;
    }
}

static void add_column(struct program *program, const struct pgcopy_column *column)
{
    if (program->step_count > 0 && continues(&program->steps[program->step_count - 1], column)) {
        program->steps[program->step_count - 1].count++;
    } else {
        program->steps[program->step_count++] = (struct pgcopy_step){
            .put = pgcopy_put_of(column->type, column->width),
            .type = column->type,
            .offset = column->offset,
            .count = column->type == PGCOPY_TEXT || column->type == PGCOPY_ENUM_U8 ? column->width : 1,
            .mask = column->argument,
            .cells = &program->cells[program->cell_count],
        };
    }
    add_cells(program, column);
}

/* Bytes of the record that a column reads, and the most that it writes behind its length. */
static void column_bounds(const struct pgcopy_column *column, size_t *reads, size_t *writes)
{
    *reads = 0;
    *writes = 0;
    switch (column->type) {
    case PGCOPY_INT8_U64:
    case PGCOPY_INT8_U64_NULL0:
    case PGCOPY_FLOAT8:
    case PGCOPY_TIMESTAMPTZ:
        *reads = *writes = 8;
        return;
    case PGCOPY_INT8_U32:
        *reads = 4, *writes = 8;
        return;
    case PGCOPY_INT4_U32:
    case PGCOPY_INT4_U32_NULL0:
        *reads = *writes = 4;
        return;
    case PGCOPY_INT2_U8:
        *reads = 1, *writes = 2;
        return;
    case PGCOPY_BOOL_U8:
        *reads = *writes = 1;
        return;
    case PGCOPY_BOOL_FLAG:
        *reads = 4, *writes = 1;
        return;
    case PGCOPY_TEXT:
        *reads = *writes = column->width;
        return;
    case PGCOPY_CONST_TEXT:
        *writes = column->width;
        return;
    case PGCOPY_CONST_INT4:
        *writes = 4;
        return;
    case PGCOPY_ENUM_U8:
        *reads = 1;
        for (uint32_t i = 0; i < column->width; i++) {
            size_t length = strlen(column->words[i]);
            *writes = length > *writes ? length : *writes;
        }
        return;
    }
    assert(!"a column of no known type");
}

/* Records are read once, one behind the other, and seldom are all of them in the inner caches: asked for so many ahead of their
 * turn they are there when it comes. For a few lines of each it is not worth the asking: the processor sees the stride itself. */
enum { RECORDS_AHEAD = 4, BYTES_MIN = 4 * 64 };

/* `begin` to `end`: what is read of a record. */
static void add_asking(struct program *program, size_t begin, size_t end, size_t record_size)
{
    if (end >= begin + BYTES_MIN) {
        program->steps[program->step_count++] = (struct pgcopy_step){
            .put = pgcopy_put_ask,
            .offset = (uint32_t)(RECORDS_AHEAD * record_size + begin),
            .count = (uint32_t)(end - begin),
        };
    }
}

enum { ROW_HEAD = 2 };

/* Every field must lie in the record. */
static void make_program(struct program *program, const struct pgcopy_column *columns, size_t column_count, size_t record_size)
{
    size_t begin = record_size, end = 0;
    assert(column_count <= PGCOPY_COLUMNS_MAX && record_size >= sizeof(struct record_head));
    program->step_count = program->cell_count = 0;
    program->row_max = ROW_HEAD + PGCOPY_SCRIBBLE;
    for (const struct pgcopy_column *column = columns; column < columns + column_count; column++) {
        size_t reads, writes;
        column_bounds(column, &reads, &writes);
        assert(column->offset <= record_size && reads <= record_size - column->offset);
        begin = reads > 0 && column->offset < begin ? column->offset : begin;
        end = reads > 0 && column->offset + reads > end ? column->offset + reads : end;
        program->row_max += 4 + writes;
        add_column(program, column);
    }
    add_asking(program, begin, end, record_size);
    program->steps[program->step_count] = (struct pgcopy_step){.put = pgcopy_put_end};
}

size_t pgcopy_row_max(const struct pgcopy_column *columns, size_t column_count)
{
    size_t size = ROW_HEAD + PGCOPY_SCRIBBLE;
    for (size_t i = 0; i < column_count; i++) {
        size_t reads, writes;
        column_bounds(&columns[i], &reads, &writes);
        size += 4 + writes;
    }
    return size;
}

enum pgcopy_result pgcopy_encode(const struct pgcopy_column *columns, size_t column_count, const void *records, size_t record_size,
                                 size_t count, uint32_t flag_mask, uint32_t flag_value, unsigned char *out, size_t out_max,
                                 size_t *taken, size_t *rows, size_t *size)
{
    struct program program;
    make_program(&program, columns, column_count, record_size);
    const unsigned char *record = records, *end = out + out_max;
    size_t encoded = 0, done = 0;
    uint16_t count_field = __builtin_bswap16((uint16_t)column_count);
    unsigned char *at = out;
    for (; done < count; done++, record += record_size) {
        uint32_t flags;
        memcpy(&flags, record + offsetof(struct record_head, flags), sizeof flags);
        if ((flags & flag_mask) != flag_value) {
            continue;
        }
        if ((size_t)(end - at) < program.row_max) {
            break;
        }
        memcpy(at, &count_field, sizeof count_field);
        at = program.steps->put(at + sizeof count_field, program.steps, record);
        encoded++;
    }
    *taken = done;
    *rows = encoded;
    *size = (size_t)(at - out);
    return done < count ? PGCOPY_FULL : PGCOPY_OK;
}
