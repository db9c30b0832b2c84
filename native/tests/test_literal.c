/* test_literal.c: each kind of value where its key comes, and nothing where another comes. */
#define _GNU_SOURCE
#include "../literal.h"

#include <math.h>

#include "guarded_text.h"

#define KEY "\"price\":", sizeof "\"price\":" - 1

static struct commas commas;
static double number;
static uint64_t integer;
static int64_t ns;
static char text[48];

enum kind { NUMBER, LAST_NUMBER, U64, TIME, TEXT, MEMBER };

/* The member, and as much behind it as commas_find() wants; with LITERAL_BEFORE bytes before it, or at the end of what is
 * readable. */
static bool takes(enum kind kind, const char *member)
{
    char whole[256];
    bool taken[2];
    snprintf(whole, sizeof whole, "%s,\"more\":\"than the sixty-four bytes of text that there must be for its commas to be found\"", member);
    for (int way = 0; way < 2; way++) {
        struct literal literal;
        size_t length = strlen(whole);
        const char *at = way == 0 ? against_the_front(whole, length, LITERAL_BEFORE) : against_the_end(whole, length);
        number = NAN, integer = 0, ns = 0, memset(text, 0, sizeof text);
        check(literal_begin(&literal, &commas, at, at + length), "too short", whole);
        taken[way] = kind == NUMBER        ? literal_number(&literal, KEY, 0, &number)
                       : kind == LAST_NUMBER ? literal_number(&literal, KEY, 2, &number)
                       : kind == U64         ? literal_u64(&literal, KEY, 0, &integer)
                       : kind == TIME        ? literal_time_ms(&literal, KEY, &ns)
                       : kind == TEXT        ? literal_text(&literal, KEY, text, sizeof text)
                                             : literal_member(&literal, "\"price\":\"new\"", strlen("\"price\":\"new\""));
        check(!taken[way] || (literal.at[-1] == ',' && literal.at[1] == 'm'), "taken to another place", whole);
    }
    check(taken[0] == taken[1], "what lies around matters", whole);
    return taken[0];
}

static void values_are_what_they_say(void)
{
    static const struct { const char *member; double value; } cases[] = {
        {"\"price\":1.5", 1.5}, {"\"price\":0.25", 0.25}, {"\"price\":-7.125", -7.125}, {"\"price\":12", 12}, {"\"price\":0", 0},
        {"\"price\":2.5e-4", 2.5e-4}, {"\"price\":1234567.12345678", 1234567.12345678}, {"\"price\":0.1234567890123456789", 0.1234567890123456789},
        {"\"price\":null", NAN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(takes(NUMBER, cases[i].member), "left", cases[i].member);
        check(number == cases[i].value || (isnan(number) && isnan(cases[i].value)), "another value", cases[i].member);
    }
    check(takes(NUMBER, "\"price\":-0.0") && number == 0 && signbit(number), "the sign of zero", "");
    check(takes(LAST_NUMBER, "\"price\":1.5]}") && number == 1.5, "the last number", "");
    check(takes(U64, "\"price\":1234567890123456") && integer == 1234567890123456, "an integer", "");
    check(takes(TIME, "\"price\":1700000000123") && ns == INT64_C(1700000000123000000), "a time", "");
    check(takes(TEXT, "\"price\":\"x\"") && strcmp(text, "x") == 0, "a text", text);
    check(takes(TEXT, "\"price\":\"thirty-two bytes of a text here.\"") && strcmp(text, "thirty-two bytes of a text here.") == 0, "a long text", text);
    check(takes(MEMBER, "\"price\":\"new\""), "a member", "");
}

static void what_is_not_usual_is_left(void)
{
    static const struct { enum kind kind; const char *member; } others[] = {
        {NUMBER, "\"pricf\":1.5"}, {NUMBER, "\"qrice\":1.5"}, {NUMBER, "\"price\" :1.5"}, {NUMBER, "\"price\": 1.5"}, {NUMBER, "\"price\":1.5 "},
        {NUMBER, "\"price\":"}, {NUMBER, "\"price\":01.5"}, {NUMBER, "\"price\":1."}, {NUMBER, "\"price\":.5"}, {NUMBER, "\"price\":1.5.5"}, {NUMBER, "\"price\":1/5"},
        {NUMBER, "\"price\":1.5}"}, {NUMBER, "\"price\":nul0"}, {NUMBER, "\"price\":1e999"}, {NUMBER, "\"price\":\"1.5\""}, {NUMBER, ""}, {NUMBER, "\"price"},
        {NUMBER, "\"price\":--1.5"}, {NUMBER, "\"price\":-"}, {LAST_NUMBER, "\"price\":1.5"}, {LAST_NUMBER, "\"price\":1.5]"},
        {U64, "\"price\":0"}, {U64, "\"price\":01"}, {U64, "\"price\":1.0"}, {U64, "\"price\":-1"}, {U64, "\"price\":12345678901234567"}, {U64, "\"price\":"},
        {TIME, "\"price\":9223372036855"}, {TEXT, "\"price\":\"\""}, {TEXT, "\"price\":\"a,b\""}, {TEXT, "\"price\":\"a\\\\b\""}, {TEXT, "\"price\":\"a\"b\""},
        {TEXT, "\"price\":\"\xc3\xa9\""}, {TEXT, "\"price\":\"\x01\""}, {TEXT, "\"price\":\"thirty-three bytes of a text here\""}, {TEXT, "\"price\":1.5"},
        {TEXT, "\"price\":x\""}, {TEXT, "\"price\":\"x"}, {MEMBER, "\"price\":\"newer\""}, {MEMBER, "\"price\":\"old\""}, {MEMBER, "\"price\":\"new\" "},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        check(!takes(others[i].kind, others[i].member), "taken", others[i].member);
}

int main(void)
{
    make_guards();
    values_are_what_they_say();
    what_is_not_usual_is_left();
    printf("test_literal: values of every kind\n");
    return failures != 0;
}
