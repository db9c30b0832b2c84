# QuestDB's line protocol: see ilp.h. Included by _native.pyx.

ILP_SYMBOL_TEXT, ILP_SYMBOL_ENUM, ILP_SYMBOL_CONST = c.ILP_SYMBOL_TEXT, c.ILP_SYMBOL_ENUM, c.ILP_SYMBOL_CONST
ILP_LONG_U64, ILP_LONG_U64_ABSENT0, ILP_LONG_U32 = c.ILP_LONG_U64, c.ILP_LONG_U64_ABSENT0, c.ILP_LONG_U32
ILP_LONG_U32_ABSENT0, ILP_LONG_U8_ABSENT255 = c.ILP_LONG_U32_ABSENT0, c.ILP_LONG_U8_ABSENT255
ILP_LONG_CONST, ILP_DOUBLE, ILP_TIMESTAMP = c.ILP_LONG_CONST, c.ILP_DOUBLE, c.ILP_TIMESTAMP
ILP_STRING, ILP_BOOL_U8, ILP_BOOL_FLAG = c.ILP_STRING, c.ILP_BOOL_U8, c.ILP_BOOL_FLAG

IlpColumn = namedtuple("IlpColumn", "type name offset width argument words constant", defaults=(0, 0, 0, (), b""))


cdef uint32_t ilp_width_of(int type, uint32_t width):
    """Bytes of the record that a column reads."""
    if type in (c.ILP_LONG_U64, c.ILP_LONG_U64_ABSENT0, c.ILP_DOUBLE, c.ILP_TIMESTAMP):
        return 8
    if type in (c.ILP_LONG_U32, c.ILP_LONG_U32_ABSENT0, c.ILP_BOOL_FLAG):
        return 4
    if type in (c.ILP_LONG_U8_ABSENT255, c.ILP_BOOL_U8, c.ILP_SYMBOL_ENUM):
        return 1
    return width if type in (c.ILP_SYMBOL_TEXT, c.ILP_STRING) else 0


cdef class IlpPlan:
    cdef c.ilp_table table
    cdef c.ilp_column *columns
    cdef const char **words
    cdef size_t record_size
    cdef readonly size_t row_max
    cdef list kept  # the names, words and constants that `columns` points to

    def __cinit__(self, int kind, bytes table, columns, uint32_t at_offset, uint32_t at_else_offset):
        columns = [IlpColumn(*column) for column in columns]
        self.record_size = c.record_size(<c.record_kind> kind)
        if self.record_size == 0:
            raise ValueError(f"{kind} is no kind of record")
        if max(at_offset, at_else_offset) + 8 > self.record_size:
            raise ValueError("the time reaches beyond the record")
        self.kept = [table]
        self.columns = <c.ilp_column *> PyMem_Calloc(len(columns) + 1, sizeof(c.ilp_column))
        self.words = <const char **> PyMem_Calloc(sum(len(column.words) for column in columns) + 1, sizeof(char *))
        if self.columns == NULL or self.words == NULL:
            raise MemoryError
        cdef const char **words = self.words
        for index, column in enumerate(columns):
            self.set_column(index, column, words)
            words += len(column.words)
        self.table.name = PyBytes_AS_STRING(table)
        self.table.columns = self.columns
        self.table.column_count = len(columns)
        self.table.at_offset = at_offset
        self.table.at_else_offset = at_else_offset
        self.row_max = c.ilp_row_max(&self.table)

    def __dealloc__(self):
        PyMem_Free(self.columns)
        PyMem_Free(self.words)

    cdef set_column(self, size_t index, object column, const char **words):
        if column.type < c.ILP_SYMBOL_TEXT or column.type > c.ILP_BOOL_FLAG:
            raise ValueError(f"{column} is of no type")
        if column.offset + ilp_width_of(column.type, column.width) > self.record_size:
            raise ValueError(f"{column} reaches beyond a record of {self.record_size} bytes")
        cdef c.ilp_column *target = self.columns + index
        self.kept.append(column.name)
        target.type = column.type
        target.name = PyBytes_AS_STRING(column.name)
        target.offset = column.offset
        target.width = column.width
        target.argument = column.argument
        if column.type == c.ILP_SYMBOL_ENUM:
            target.width = len(column.words)
            target.words = words
            for place, word in enumerate(column.words):
                self.kept.append(word)
                words[place] = PyBytes_AS_STRING(word)
        elif column.type == c.ILP_SYMBOL_CONST:
            self.kept.append(column.constant)
            target.constant = PyBytes_AS_STRING(column.constant)
            target.width = len(column.constant)

    def encode(self, records, out, size_t start=0, uint32_t flag_mask=0, uint32_t flag_value=0):
        cdef Held held = Held(records)
        cdef Held into = Held(out, True)
        cdef size_t count = whole_records(held, self.record_size)
        if start > <size_t> into.buffer.len:
            raise ValueError(f"{start} lies behind the end of the buffer")
        cdef unsigned char *at = <unsigned char *> into.buffer.buf + start
        cdef size_t taken = 0, rows = 0, size = 0, out_max = into.buffer.len - start
        with nogil:
            c.ilp_encode(&self.table, held.buffer.buf, self.record_size, count, flag_mask, flag_value, at, out_max, &taken, &rows,
                         &size)
        return taken, rows, start + size
