/* stage1.cpp: see stage1.h. */
#include "stage1.h"

#include <simdjson.h>

#include <memory>

using simdjson::internal::dom_parser_implementation;

void *stage1_make(size_t bytes_max)
{
    std::unique_ptr<dom_parser_implementation> found;
    auto error = simdjson::get_active_implementation()->create_dom_parser_implementation(bytes_max, 16, found);
    return error ? nullptr : found.release();
}

size_t stage1_find(void *stage1, const char *text, size_t length)
{
    auto *parser = static_cast<dom_parser_implementation *>(stage1);
    auto error = parser->stage1(reinterpret_cast<const uint8_t *>(text), length, simdjson::stage1_mode::regular);
    return error ? 0 : parser->n_structural_indexes;
}

const char *stage1_name(void)
{
    static const std::string name = simdjson::get_active_implementation()->name();
    return name.c_str();
}
