/* test_commas.c: every comma of a text and no other, in each way; nothing is read outside of the text. */
#define _GNU_SOURCE
#include "../commas.h"

#include "guarded_text.h"

static uint64_t random_state = 20261121;

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

static int ways; /* that this processor has */

static void finds(commas_finder *way_to_find, const char *at, size_t length)
{
    static struct commas commas;
    size_t count = 0;
    check(way_to_find(&commas, at, at + length), "refused", at);
    for (size_t i = 0; i < length; i++)
        if (at[i] == ',')
            check(commas.places[count++] == i, "another place", at);
    for (size_t i = 0; i < COMMAS_ENDS; i++)
        check(commas.places[count + i] == length, "the end is not marked", at);
}

static void every_comma_is_found(void)
{
    static char text[COMMAS_TEXT_MAX];
    static const unsigned rarities[] = {1, 2, 8, 20, 100, 5000};
    for (size_t length = COMMAS_TEXT_MIN; length <= COMMAS_TEXT_MAX; length += length < 300 ? 1 : 1 + below(40))
        for (size_t rarity = 0; rarity < sizeof rarities / sizeof *rarities; rarity++) {
            for (size_t i = 0; i < length; i++)
                text[i] = below(rarities[rarity]) == 0 ? ',' : (char)(1 + below(255));
            for (int way = 0; way <= COMMAS_WAYS; way++) {
                commas_finder *way_to_find = way < COMMAS_WAYS ? commas_way((enum commas_way)way) : commas_find;
                if (way_to_find == NULL)
                    continue;
                finds(way_to_find, against_the_end(text, length), length);
                finds(way_to_find, against_the_front(text, length, 0), length);
            }
        }
}

/* Of a text with no two commas in eight bytes every one is found, of another one places within it. */
static void sparse_commas_are_found(void)
{
    static char text[COMMAS_TEXT_MAX];
    for (size_t length = 0; length <= COMMAS_TEXT_MAX; length += length < 600 ? 1 : 1 + below(40))
        for (unsigned gap = 1; gap < 400; gap = gap * 3 / 2 + 7) {
            uint16_t expected[COMMAS_SPARSE_MAX];
            size_t count = 0;
            memset(text, 'x', length);
            for (size_t i = below(8); i < length && count < COMMAS_SPARSE_MAX; i += gap + below(gap)) {
                text[i] = ',';
                expected[count++] = (uint16_t)i;
            }
            for (int place = 0; place < 2; place++) {
                _Alignas(32) uint16_t places[COMMAS_SPARSE_MAX];
                const char *at = place == 0 ? against_the_end(text, length) : against_the_front(text, length, 0);
                uint32_t found = commas_find_sparse(places, at, at + length);
                for (size_t i = 0; i < COMMAS_SPARSE_MAX; i++)
                    check(gap < 8 ? places[i] <= length : places[i] == (i < count ? expected[i] : length), "another place", at);
                check(gap < 8 || found == count, "another number of them", at);
            }
        }
}

static void too_many_or_too_long_is_seen(void)
{
    static char text[COMMAS_TEXT_MAX + 1];
    _Alignas(32) uint16_t places[COMMAS_SPARSE_MAX];
    memset(text, ',', sizeof text);
    for (size_t length = 8 * COMMAS_SPARSE_MAX + 1; length <= COMMAS_TEXT_MAX + 1; length++)
        check(commas_find_sparse(places, text, text + length) >= COMMAS_SPARSE_MAX, "taken for few", "");
}

static void other_lengths_are_refused(void)
{
    static char text[COMMAS_TEXT_MAX + 1];
    static struct commas commas;
    static const size_t lengths[] = {0, 1, COMMAS_TEXT_MIN - 1, COMMAS_TEXT_MAX + 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const char *at = against_the_end(text, lengths[i]);
        check(!commas_find(&commas, at, at + lengths[i]), "taken", "");
        for (int way = 0; way < COMMAS_WAYS; way++) {
            commas_finder *way_to_find = commas_way((enum commas_way)way);
            check(way_to_find == NULL || !way_to_find(&commas, at, at + lengths[i]), "taken in some way", "");
        }
    }
}

int main(void)
{
    make_guards();
    for (int way = 0; way < COMMAS_WAYS; way++)
        ways += commas_way((enum commas_way)way) != NULL;
    every_comma_is_found();
    other_lengths_are_refused();
    sparse_commas_are_found();
    too_many_or_too_long_is_seen();
    printf("test_commas: texts of every length, in %d of %d ways: this processor has no others\n", ways, COMMAS_WAYS);
    return failures != 0;
}
