/* SPDX-License-Identifier: Apache-2.0
 *
 * See kdz.h for how to use it, and docs/decoder.md for the format.
 */
#include "kdz.h"

#include <float.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------- the header */

enum {
    HEADER = 52,
    CHECKED = 48,   /* bytes of the header before the checksum over everything else */
    STATE_BYTES = 5 /* of a lane at the beginning of the stream */
};

#define MOST 0x7FFFFFFFu

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define CHECKSUMS 0 /* or fuzzing would end at them */
#else
#define CHECKSUMS 1
#endif

typedef struct header {
    uint32_t size, checksum, plain, script, coded, weights, largest, area, channels;
    uint32_t lanes;      /* their number */
    uint32_t lc, lp, pb; /* LZMA's */
} header;

static uint32_t little32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_little(uint8_t *p, uint32_t value, uint32_t width) {
    for (uint32_t i = 0; i < width; i++) {
        p[i] = (uint8_t)(value >> 8 * i);
    }
}

/* CRC-32 as zlib has it; half a byte at a time, so that its table is small. */
static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n) {
    static const uint32_t table[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
                                       0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                       0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static kdz_code read_header(const uint8_t *p, size_t size, header *h) {
    if (size < 4 || memcmp(p, "KDZ", 3) != 0) {
        return KDZ_NOT_PACKED;
    }
    if (p[3] != KDZ_FORMAT) {
        return KDZ_OTHER_VERSION;
    }
    if (size < HEADER || size < little32(p + 4)) {
        return KDZ_CUT;
    }
    if (size > little32(p + 4)) {
        return KDZ_DAMAGED;
    }
    if (crc32(crc32(0, p, CHECKED), p + HEADER, size - HEADER) != little32(p + CHECKED) && CHECKSUMS) {
        return KDZ_DAMAGED;
    }
    h->size = little32(p + 8);
    h->checksum = little32(p + 12);
    h->plain = little32(p + 16);
    h->script = little32(p + 20);
    h->coded = little32(p + 24);
    h->weights = little32(p + 28);
    h->largest = little32(p + 32);
    h->area = little32(p + 36);
    h->channels = little32(p + 40);
    h->lc = p[45] % 9u;
    h->lp = p[45] / 9u % 5u;
    h->pb = p[45] / 45u;
    if (p[46] != 0 || p[47] != 0 || h->size > MOST || h->script > h->plain || h->plain - h->script > h->size ||
        h->coded > size - HEADER || h->weights >= MOST || h->largest > h->weights || h->area > h->weights ||
        h->channels > h->weights + 1 || p[44] < 4 || p[44] > 10 || h->pb > 4 || h->lc + h->lp > 4) {
        return KDZ_DAMAGED;
    }
    h->lanes = (uint32_t)1 << p[44];
    return KDZ_OK;
}

/* ------------------------------------------------------------------------------- frequencies that are learned */

enum {
    PRECISION = 14, /* bits of a probability */
    SCALE = 1 << PRECISION,
    UNIT = 32,          /* weight of one observation */
    START = 2 * UNIT,   /* of a bit's two weights, which are five times the counts, and 0.4 of an observation */
    ENTRIES = 256,      /* values of a kernel, at most */
    BUCKETS = 64,       /* equal parts of SCALE, for each of which the first symbol is known */
    FEWEST = 64,        /* weights of a kernel: each one takes some time to begin with */
    FIRST = 32,         /* weights decoded before a kernel's frequencies are learned for the first time */
    FADE = 20,          /* observations that a context keeps from one kernel to the next */
    CORRECTIONS = 5,    /* -2 to 2 */
    LEVELS = 127,       /* of int8 kernels, on either side of zero */
    PATIENCE = 1 << 14, /* sizes after which frequencies follow every 1,024 */
    REFRESH = 1024,     /* weights, at least, between two looks at the channels */
    NEUTRAL = 5,        /* the level of a channel of which nothing is known */
    CHANNELS = 7,       /* contexts of two channels' levels */
    ZERO_CONTEXTS = CHANNELS * 29,
    SIGN_CONTEXTS = 27,
    NO_SIGNS = 13
};

/* The probability of a zero bit; it is computed when it is needed, for most contexts learn more often. */
typedef struct bit_model {
    uint64_t weight[2];
    uint32_t zero;
} bit_model;

static void learn_bit(bit_model *m, uint32_t bit) {
    m->weight[bit] += 5 * UNIT;
    m->zero = 0;
}

static uint32_t zero_of(bit_model *m) {
    if (m->zero == 0) {
        uint64_t zero = (m->weight[0] << PRECISION) / (m->weight[0] + m->weight[1]);
        m->zero = zero < 1 ? 1 : zero > SCALE - 1 ? SCALE - 1 : (uint32_t)zero;
    }
    return m->zero;
}

static void start_bits(bit_model *m, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        m[i].weight[0] = m[i].weight[1] = START;
        m[i].zero = 0;
    }
}

/* Lets a context weigh no more than FADE observations, so that it adapts quickly to what follows. */
static void fade_bits(bit_model *m, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t zeros = (m[i].weight[0] - START) / 5, ones = (m[i].weight[1] - START) / 5, total = zeros + ones;
        if (total > FADE * UNIT) {
            m[i].weight[0] = 5 * (zeros * FADE * UNIT / total) + START;
            m[i].weight[1] = 5 * (ones * FADE * UNIT / total) + START;
            m[i].zero = 0;
        }
    }
}

/* Symbols 0 to size - 1. */
typedef struct symbol_model {
    uint32_t size;
    uint64_t *counts;
    uint16_t starts[ENTRIES + 1];
    uint8_t bucket[BUCKETS];
} symbol_model;

static void update_symbols(symbol_model *m) {
    uint64_t total = 0;
    uint32_t sum = 0, best = 0, most = 0, start = 0, bucket = 0, n = m->size;
    for (uint32_t i = 0; i < n; i++) {
        total += m->counts[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t length = (uint32_t)(m->counts[i] * (SCALE - n) / (total ? total : 1)) + 1;
        m->starts[i + 1] = (uint16_t)length;
        sum += length;
        if (length > most) {
            most = length;
            best = i;
        }
    }
    if (n) {
        m->starts[best + 1] = (uint16_t)(most + SCALE - sum);
    }
    m->starts[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        start += m->starts[i + 1];
        m->starts[i + 1] = (uint16_t)start;
        while (bucket < BUCKETS && bucket * (SCALE / BUCKETS) < start) {
            m->bucket[bucket++] = (uint8_t)i;
        }
    }
}

static void learn_symbols(symbol_model *m, const uint16_t *seen, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        m->counts[seen[i]] += UNIT;
    }
    if (count) {
        update_symbols(m);
    }
}

static uint32_t find_symbol(const symbol_model *m, uint32_t slot) {
    uint32_t symbol = m->bucket[slot / (SCALE / BUCKETS)];
    while (slot >= m->starts[symbol + 1]) {
        symbol++;
    }
    return symbol;
}

/* ------------------------------------------------------------------------------ many decoders, side by side */

#define LOW ((uint64_t)1 << 24) /* states are LOW to LOW * 2^16 - 1 */

typedef struct coder {
    uint64_t *states;
    uint32_t lanes;
    const uint8_t *next, *end;
    int cut;
} coder;

static int start_coder(coder *c, uint64_t *states, uint32_t lanes, const uint8_t *p, size_t size) {
    if (size < (size_t)lanes * STATE_BYTES || (size - (size_t)lanes * STATE_BYTES) % 2) {
        return 0;
    }
    for (uint32_t i = 0; i < lanes; i++, p += STATE_BYTES) {
        states[i] = (uint64_t)p[4] << 32 | little32(p);
        if (states[i] < LOW) {
            return 0;
        }
    }
    c->states = states;
    c->lanes = lanes;
    c->next = p;
    c->end = p + (size - (size_t)lanes * STATE_BYTES);
    c->cut = 0;
    return 1;
}

/* Takes a symbol off a lane whose slot lies `slot - start` after the beginning of an interval of that length. */
static void advance(coder *c, uint32_t lane, uint32_t start, uint32_t length) {
    uint64_t x = c->states[lane];
    x = (x >> PRECISION) * length + ((uint32_t)x & (SCALE - 1)) - start;
    if (x < LOW) {
        if (c->next == c->end) {
            c->cut = 1;
            x = LOW;
        } else {
            x = x << 16 | (uint32_t)c->next[0] | (uint32_t)c->next[1] << 8;
            c->next += 2;
        }
    }
    c->states[lane] = x;
}

static uint32_t decode_bit(coder *c, uint32_t lane, bit_model *m) {
    uint32_t zero = zero_of(m), bit = ((uint32_t)c->states[lane] & (SCALE - 1)) >= zero;
    advance(c, lane, bit ? zero : 0, bit ? SCALE - zero : zero);
    return bit;
}

static uint32_t decode_symbol(coder *c, uint32_t lane, const symbol_model *m) {
    uint32_t symbol = find_symbol(m, (uint32_t)c->states[lane] & (SCALE - 1));
    advance(c, lane, m->starts[symbol], (uint32_t)m->starts[symbol + 1] - m->starts[symbol]);
    return symbol;
}

/* The encoder began with LOW in all lanes, and wrote nothing else. */
static int finished(const coder *c) {
    for (uint32_t i = 0; i < c->lanes; i++) {
        if (c->states[i] != LOW) {
            return 0;
        }
    }
    return !c->cut && c->next == c->end;
}

/* ----------------------------------------------------------------------------------------------- the kernels */

enum { TABLE = 0, SCALED = 1, GAINS = 2 };            /* how values come from the list */
enum { NIBBLE = 0, BYTE = 1, HALF = 2, WORD = 3 };    /* how many bytes they take */

typedef struct kernel {
    uint32_t kind, size, rows, taps, width, columns; /* taps: positions, height * width */
    uint32_t sides[4];                               /* rows, height, width, columns */
    uint32_t offset, entries, center, last;
    uint32_t sparse, along, segments, segments_width, indices, indices_width;
    const uint8_t *book, *gains;
} kernel;

typedef struct memory {
    bit_model zeros[2][ZERO_CONTEXTS], signs[SIGN_CONTEXTS], flips;
    symbol_model sizes[2], corrections;
    uint64_t counts[ENTRIES], before[ENTRIES], correction_counts[CORRECTIONS];
    uint32_t sides[2], sides_before[2];
    uint32_t seen, pending; /* sizes of this kernel: those that are learned, and those that are counted beside them */
} memory;

/* Everything that is needed while weights are decoded; the pointers lead into the workspace. */
typedef struct state {
    memory models;
    coder c;
    uint32_t *counts; /* weights other than zero, by row, and then by column */
    uint8_t *levels;  /* likewise */
    uint16_t *kept;   /* weights other than zero so far, of each kernel of several positions */
    uint8_t *places;
    uint32_t *spots;   /* where the part's weights other than zero are; one a lane, as the next two */
    uint16_t *seen;    /* the context and the bit */
    uint8_t *positive;
} state;

static void start_memory(memory *m) {
    start_bits(m->zeros[0], 2 * ZERO_CONTEXTS);
    start_bits(m->signs, SIGN_CONTEXTS);
    start_bits(&m->flips, 1);
    for (uint32_t i = 0; i < CORRECTIONS; i++) {
        m->correction_counts[i] = UNIT / 5;
    }
    m->corrections.size = CORRECTIONS;
    m->corrections.counts = m->correction_counts;
    update_symbols(&m->corrections);
    m->sides_before[0] = m->sides_before[1] = 0;
}

/* Starts with the last kernel's frequencies, stretched to this one's number of values, as one observation each. */
static void start_sizes(memory *m, const kernel *k) {
    uint32_t first = 0, first_before = 0;
    m->seen = m->pending = 0;
    m->sides[0] = k->center;
    m->sides[1] = k->entries - 1 - k->center;
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t n = m->sides[side], old = m->sides_before[side];
        const uint64_t *before = m->before + first_before;
        uint64_t sum = 0;
        for (uint32_t i = 0; old && i < n; i++) {
            sum += before[i * old / n];
        }
        for (uint32_t i = 0; i < n; i++) {
            m->counts[first + i] = UNIT / 5;
            if (old) {
                m->counts[first + i] += UNIT * n * before[i * old / n] / (sum ? sum : 1);
            }
        }
        m->sizes[side].size = n;
        m->sizes[side].counts = m->counts + first;
        update_symbols(&m->sizes[side]);
        first += n;
        first_before += old;
    }
}

/* Compares channels with the average one: how many of the bounds, in sixteenths, are not above it. */
static void set_levels(uint8_t *levels, const uint32_t *counts, uint32_t n, uint64_t total) {
    static const uint8_t bounds[10] = {6, 8, 10, 12, 14, 16, 19, 22, 26, 32};
    uint64_t unit = total + 2 * (uint64_t)n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t value = 16 * (uint64_t)n * (counts[i] + (uint64_t)2);
        uint32_t level = 0;
        while (level < 10 && bounds[level] * unit <= value) {
            level++;
        }
        levels[i] = (uint8_t)level;
    }
}

static uint32_t density_context(uint32_t kept, uint32_t tap) {
    uint32_t k = 20 * kept;
    return (uint32_t)(k > 0) + (k > 3 * tap) + (k > 5 * tap) + (k > 8 * tap) + (k > 11 * tap) + (k > 14 * tap);
}

/* 0, 1, 2 for a negative value, zero, a positive value. */
static uint32_t sign_of(uint32_t place, uint32_t center) {
    return 1u + (place > center) - (place < center);
}

/* The weights of one position, in all kernels, that are decoded between two updates of the models. */
typedef struct part {
    uint32_t tap, start, stop;
    uint32_t left, above; /* whether there is such a neighbor */
} part;

/* Decodes which weights of a part are zero, and notes where the others are; returns how many these are. */
static uint32_t decode_zeros(state *s, const kernel *k, const part *a) {
    bit_model *zeros = s->models.zeros[k->taps > 1];
    uint32_t row = a->start / k->columns, column = a->start % k->columns, others = 0, center = k->center;
    uint32_t up = k->width * k->columns;
    for (uint32_t i = a->start; i < a->stop; i++) {
        uint32_t spot = (row * k->taps + a->tap) * k->columns + column, lane = i - a->start;
        uint32_t context = (uint32_t)(s->levels[row] + s->levels[k->rows + column]) / 3, bit;
        const uint8_t *place = s->places + spot;
        if (a->tap) {
            uint32_t left = a->left && place[-(ptrdiff_t)k->columns] != center;
            uint32_t above = a->above && place[-(ptrdiff_t)up] != center;
            context += CHANNELS * (1 + 4 * density_context(s->kept[i], a->tap) + 2 * left + above);
        }
        bit = decode_bit(&s->c, lane, &zeros[context]);
        s->seen[lane] = (uint16_t)(2 * context + bit);
        s->places[spot] = (uint8_t)center;
        s->spots[others] = spot;
        others += bit;
        s->counts[row] += bit;
        s->counts[k->rows + column] += bit;
        if (k->taps > 1) {
            s->kept[i] = (uint16_t)(s->kept[i] + bit);
        }
        if (++column == k->columns) {
            column = 0;
            row++;
        }
    }
    for (uint32_t lane = 0; lane < a->stop - a->start; lane++) {
        learn_bit(&zeros[s->seen[lane] >> 1], s->seen[lane] & 1u);
    }
    return others;
}

static void decode_signs(state *s, const kernel *k, const part *a, uint32_t count) {
    bit_model *signs = s->models.signs;
    size_t up = (size_t)k->width * k->columns;
    if (!s->models.sides[0] || !s->models.sides[1]) {
        memset(s->positive, s->models.sides[1] > 0, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *place = s->places + s->spots[i];
        uint32_t context = NO_SIGNS;
        if (a->tap) {
            uint32_t left = a->left ? sign_of(*(place - k->columns), k->center) : 1;
            uint32_t above = a->above ? sign_of(*(place - up), k->center) : 1;
            uint32_t corner = a->left && a->above ? sign_of(*(place - up - k->columns), k->center) : 1;
            context = 9 * corner + 3 * left + above;
        }
        s->positive[i] = (uint8_t)decode_bit(&s->c, i, &signs[context]);
        s->seen[i] = (uint16_t)(2 * context + s->positive[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        learn_bit(&signs[s->seen[i] >> 1], s->seen[i] & 1u);
    }
}

static void decode_sizes(state *s, const kernel *k, uint32_t count) {
    symbol_model *sizes = s->models.sizes;
    memory *m = &s->models;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t symbol = decode_symbol(&s->c, i, &sizes[s->positive[i]]);
        s->seen[i] = (uint16_t)symbol;
        s->places[s->spots[i]] = (uint8_t)(s->positive[i] ? k->center + 1 + symbol : k->center - 1 - symbol);
    }
    for (uint32_t i = 0; i < count; i++) {
        sizes[s->positive[i]].counts[s->seen[i]] += UNIT;
    }
    m->pending += count;
    if (count && m->pending >= (m->seen < PATIENCE ? m->seen : PATIENCE) >> 4) {
        m->seen = m->seen < PATIENCE ? m->seen + m->pending : m->seen;
        m->pending = 0;
        update_symbols(&sizes[0]);
        update_symbols(&sizes[1]);
    }
}

/* Decodes which value of its list each weight of a kernel has. */
static void decode_places(state *s, const kernel *k) {
    uint32_t area = k->rows * k->columns, sides = k->rows + k->columns, length = FIRST;
    uint64_t total = 0, coded = 0, refresh = sides > REFRESH ? sides : REFRESH, next = refresh;
    if (k->entries == 1) {
        memset(s->places, 0, (size_t)area * k->taps);
        return;
    }
    fade_bits(s->models.zeros[k->taps > 1], ZERO_CONTEXTS);
    fade_bits(s->models.signs, SIGN_CONTEXTS);
    start_sizes(&s->models, k);
    memset(s->counts, 0, sides * sizeof *s->counts);
    memset(s->levels, NEUTRAL, sides);
    if (k->taps > 1) {
        memset(s->kept, 0, area * sizeof *s->kept);
    }
    for (uint32_t tap = 0; tap < k->taps && !s->c.cut; tap++) {
        part a = {tap, 0, 0, tap % k->width > 0, tap >= k->width};
        if (tap) {
            set_levels(s->levels, s->counts, k->rows, total);
        }
        while (a.start < area && !s->c.cut) {
            uint32_t step = length < s->c.lanes ? length : s->c.lanes, others;
            length = step < s->c.lanes ? 2 * length : length;
            a.stop = area - a.start > step ? a.start + step : area;
            if (coded >= next) {
                set_levels(s->levels + k->rows, s->counts + k->rows, k->columns, total);
                next = coded + refresh;
            }
            others = decode_zeros(s, k, &a);
            decode_signs(s, k, &a, others);
            decode_sizes(s, k, others);
            total += others;
            coded += a.stop - a.start;
            a.start = a.stop;
        }
    }
    memcpy(s->models.before, s->models.counts, sizeof s->models.counts);
    memcpy(s->models.sides_before, s->models.sides, sizeof s->models.sides);
}

/* Which weights are a channel's: `count` runs of `length`, `step` apart. */
typedef struct runs {
    uint32_t first, count, length, step;
} runs;

static runs runs_of(const kernel *k, uint32_t channel) {
    runs r;
    uint32_t row = k->taps * k->columns;
    r.first = k->last ? channel : channel * row;
    r.count = k->last ? k->rows * k->taps : 1;
    r.length = k->last ? 1 : row;
    r.step = k->columns;
    return r;
}

static int32_t step_of(const kernel *k, uint32_t place) {
    return (int32_t)((k->book[2 * place] | (uint32_t)k->book[2 * place + 1] << 8) ^ 0x8000u) - 0x8000;
}

/* Turns the places of int8 weights into their values: each channel's largest one is expected to be 127. */
static void decode_scaled(state *s, const kernel *k) {
    uint32_t channels = k->last ? k->columns : k->rows;
    symbol_model *corrections = &s->models.corrections;
    for (uint32_t channel = 0; channel < channels && !s->c.cut; channel++) {
        runs r = runs_of(k, channel);
        uint8_t table[ENTRIES] = {0}; /* first which places are used, then the values */
        uint32_t top = 0, flip, lane = 0;
        for (uint32_t i = 0; i < r.count; i++) {
            for (uint32_t j = 0; j < r.length; j++) {
                table[s->places[r.first + i * r.step + j]] = 1;
            }
        }
        for (uint32_t place = 0; place < k->entries; place++) {
            int32_t step = step_of(k, place);
            top = table[place] ? larger(top, (uint32_t)(step < 0 ? -step : step)) : top;
        }
        flip = decode_bit(&s->c, 0, &s->models.flips);
        learn_bit(&s->models.flips, flip);
        for (uint32_t place = 0; place < k->entries; place++) {
            int32_t step = step_of(k, place), value;
            uint32_t size = (uint32_t)(step < 0 ? -step : step), symbol;
            if (!table[place]) {
                continue;
            }
            size = (2 * LEVELS * size + top) / larger(2 * top, 1);
            size = size < LEVELS ? size : LEVELS;
            value = (step < 0) != (flip != 0) ? -(int32_t)size : (int32_t)size;
            symbol = decode_symbol(&s->c, lane, corrections);
            s->seen[lane++] = (uint16_t)symbol;
            table[place] = (uint8_t)(value + (int32_t)symbol - CORRECTIONS / 2);
            if (lane == s->c.lanes) {
                learn_symbols(corrections, s->seen, lane);
                lane = 0;
            }
        }
        learn_symbols(corrections, s->seen, lane);
        for (uint32_t i = 0; i < r.count; i++) {
            for (uint32_t j = 0; j < r.length; j++) {
                uint8_t *place = s->places + r.first + i * r.step + j;
                *place = table[*place];
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------- their values */

/* Rounds to the nearest float16, of two the even one. */
static uint32_t half_of(uint32_t bits) {
    uint32_t sign = bits >> 16 & 0x8000u, exponent = bits >> 23 & 0xFF, fraction = bits & 0x7FFFFF, shift = 13, result;
    if (exponent < 102) {
        return sign;
    }
    if (exponent > 142) {
        return sign | 0x7C00u;
    }
    if (exponent < 113) {
        fraction |= 0x800000u;
        shift = 126 - exponent;
        result = fraction >> shift;
    } else {
        result = (exponent - 112) << 10 | fraction >> shift;
    }
    fraction &= ((uint32_t)1 << shift) - 1;
    result += fraction > (uint32_t)1 << (shift - 1) || (fraction == (uint32_t)1 << (shift - 1) && (result & 1));
    return sign | result;
}

/* The product of two float32 numbers, rounded once, whatever the machine computes floats with; 0 if there is none. */
static int product(const uint8_t *a, const uint8_t *b, uint32_t *result) {
    uint32_t bits[2];
    float factor[2], rounded;
    double exact;
    bits[0] = little32(a);
    bits[1] = little32(b);
    memcpy(factor, bits, sizeof factor);
    exact = (double)factor[0] * (double)factor[1];
    if (!(exact >= -FLT_MAX && exact <= FLT_MAX)) {
        return 0;
    }
    rounded = (float)exact;
    memcpy(result, &rounded, sizeof rounded);
    return 1;
}

/* One value as a whole number; 0 if there is none. */
static int value_of(const kernel *k, uint32_t place, uint32_t channel, uint32_t *value) {
    if (k->kind == SCALED) {
        *value = place;
    } else if (k->kind == GAINS) {
        if (!product(k->book + 4 * place, k->gains + 4 * (size_t)channel, value)) {
            return 0;
        }
        *value = k->size == HALF ? half_of(*value) : *value;
    } else if (k->size == WORD) {
        *value = little32(k->book + 4 * place);
    } else if (k->size == HALF) {
        *value = k->book[2 * place] | (uint32_t)k->book[2 * place + 1] << 8;
    } else {
        *value = k->book[place];
    }
    return 1;
}

static uint32_t bytes_of(uint32_t size) {
    return size == WORD ? 4 : size == HALF ? 2 : 1;
}

/* Writes a kernel's values as they lie in the file. */
static int store_dense(const kernel *k, const uint8_t *places, uint8_t *output, uint32_t output_size) {
    uint32_t weights = k->rows * k->taps * k->columns, width = bytes_of(k->size);
    uint32_t channels = k->kind != GAINS ? 1 : k->last ? k->columns : k->rows;
    uint64_t bytes = k->size == NIBBLE ? ((uint64_t)weights + 1) / 2 : (uint64_t)weights * width;
    if (k->offset > output_size || bytes > output_size - k->offset) {
        return 0;
    }
    output += k->offset;
    if (k->kind == SCALED) {
        memcpy(output, places, weights);
        return 1;
    }
    if (k->size == NIBBLE) {
        for (uint32_t i = 0; i < weights; i += 2) {
            uint32_t high = i + 1 < weights ? k->book[places[i + 1]] & 15u : 0;
            output[i / 2] = (uint8_t)((k->book[places[i]] & 15u) | high << 4);
        }
        return 1;
    }
    for (uint32_t channel = 0; channel < channels; channel++) {
        runs r = {0, 1, weights, 0};
        uint32_t table[ENTRIES];
        if (k->kind == GAINS) {
            r = runs_of(k, channel);
        }
        for (uint32_t place = 0; place < k->entries; place++) {
            if (!value_of(k, place, channel, &table[place])) {
                return 0;
            }
        }
        for (uint32_t i = 0; i < r.count; i++) {
            const uint8_t *from = places + r.first + i * r.step;
            uint8_t *to = output + (size_t)width * (r.first + i * r.step);
            for (uint32_t j = 0; j < r.length; j++, to += width) {
                put_little(to, table[from[j]], width);
            }
        }
    }
    return 1;
}

static int put_at(uint8_t *output, uint32_t output_size, uint64_t offset, uint32_t value, uint32_t width) {
    if (offset + width > output_size) {
        return 0;
    }
    put_little(output + offset, value, width);
    return 1;
}

/* Writes the values other than zero, where each row of them begins, and each one's place in its row. */
static int store_sparse(const kernel *k, const uint8_t *places, uint8_t *output, uint32_t output_size) {
    static const uint32_t but_sign[4] = {0xF, 0xFF, 0x7FFF, 0x7FFFFFFF}; /* a float's zero may have a sign */
    uint32_t steps[4], axes[3], n = 0, kept = 0, row = 0, width = bytes_of(k->size);
    steps[3] = 1;
    for (uint32_t i = 3; i > 0; i--) {
        steps[i - 1] = steps[i] * k->sides[i];
    }
    for (uint32_t i = 0; i < 4; i++) {
        if (i != k->along) {
            axes[n++] = i;
        }
    }
    for (uint32_t a = 0; a < k->sides[axes[0]]; a++) {
        for (uint32_t b = 0; b < k->sides[axes[1]]; b++) {
            for (uint32_t c = 0; c < k->sides[axes[2]]; c++, row++) {
                uint32_t spot = a * steps[axes[0]] + b * steps[axes[1]] + c * steps[axes[2]];
                if (!put_at(output, output_size, k->segments + (uint64_t)row * k->segments_width, kept,
                            k->segments_width)) {
                    return 0;
                }
                for (uint32_t i = 0; i < k->sides[k->along]; i++, spot += steps[k->along]) {
                    uint32_t value, channel = k->last ? spot % k->columns : spot / (k->taps * k->columns);
                    if (!value_of(k, places[spot], channel, &value)) {
                        return 0;
                    }
                    if (!(value & but_sign[k->size])) {
                        continue;
                    }
                    if (!put_at(output, output_size, k->offset + (uint64_t)kept * width, value, width) ||
                        !put_at(output, output_size, k->indices + (uint64_t)kept * k->indices_width, i,
                                k->indices_width)) {
                        return 0;
                    }
                    kept++;
                }
            }
        }
    }
    return put_at(output, output_size, k->segments + (uint64_t)row * k->segments_width, kept, k->segments_width);
}

/* ----------------------------------------------------------------------------------------------- the script */

typedef struct reader {
    const uint8_t *next, *end;
    int failed;
} reader;

static const uint8_t *take(reader *r, size_t size) {
    const uint8_t *p = r->next;
    if ((size_t)(r->end - p) < size) {
        r->failed = 1;
        return NULL;
    }
    r->next += size;
    return p;
}

static uint32_t take_byte(reader *r) {
    const uint8_t *p = take(r, 1);
    return p ? *p : 0;
}

/* A whole number below 2^31, seven bits a byte, the lowest first. */
static uint32_t take_number(reader *r) {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        uint32_t byte = take_byte(r);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            if (value > MOST) {
                break;
            }
            return (uint32_t)value;
        }
    }
    r->failed = 1;
    return 0;
}

static int is_width(uint32_t width) {
    return width == 1 || width == 2 || width == 4;
}

/* Reads what is said of a kernel, and refuses one that the header does not announce memory for. */
static int take_kernel(reader *r, const header *h, kernel *k) {
    uint32_t flags = take_byte(r);
    uint64_t weights = 1, taps;
    k->kind = flags & 3;
    k->size = flags >> 2 & 3;
    k->sparse = flags >> 4 & 1;
    k->last = flags >> 5 & 1;
    for (uint32_t i = 0; i < 4; i++) {
        k->sides[i] = take_number(r);
        if (k->sides[i] == 0 || k->sides[i] > h->largest) {
            return 0;
        }
        weights = weights * k->sides[i];
        if (weights > h->largest) {
            return 0;
        }
    }
    taps = (uint64_t)k->sides[1] * k->sides[2];
    k->rows = k->sides[0];
    k->taps = (uint32_t)taps;
    k->width = k->sides[2];
    k->columns = k->sides[3];
    k->offset = take_number(r);
    k->along = 0;
    if (k->sparse) {
        k->along = take_number(r);
        k->segments = take_number(r);
        k->segments_width = take_number(r);
        k->indices = take_number(r);
        k->indices_width = take_number(r);
        if (k->along > 3 || !is_width(k->segments_width) || !is_width(k->indices_width)) {
            return 0;
        }
    }
    k->entries = take_byte(r) + 1;
    k->center = take_byte(r);
    k->book = take(r, (size_t)k->entries * (k->kind == SCALED ? 2 : k->kind == GAINS ? 4 : bytes_of(k->size)));
    k->gains = k->kind == GAINS ? take(r, 4 * (size_t)(k->last ? k->columns : k->rows)) : NULL;
    return !r->failed && flags < 64 && weights >= FEWEST && k->kind <= GAINS && taps <= 0xFFFF && k->center < k->entries &&
           (taps == 1 || (uint64_t)k->rows * k->columns <= h->area) && (uint64_t)k->rows + k->columns <= h->channels &&
           (k->kind != SCALED || k->size == BYTE) && (k->kind != GAINS || k->size >= HALF) &&
           (k->size != NIBBLE || (!k->sparse && k->kind == TABLE));
}

/* Puts the rest of the file to its places, with gaps for the kernels. */
static int spread(reader *r, const uint8_t *rest, uint32_t size, uint8_t *output, uint32_t output_size) {
    uint32_t place = 0, taken = 0, gaps = take_number(r);
    memset(output, 0, output_size);
    for (uint32_t i = 0; i < gaps && !r->failed; i++) {
        uint32_t before = take_number(r), length = take_number(r);
        if (before > size - taken || before > output_size - place || length > output_size - place - before) {
            return 0;
        }
        memcpy(output + place, rest + taken, before);
        taken += before;
        place += before + length;
    }
    if (r->failed || size - taken != output_size - place) {
        return 0;
    }
    memcpy(output + place, rest + taken, size - taken);
    return 1;
}

static int decode_kernels(reader *r, const header *h, state *s, uint8_t *output) {
    uint32_t count = take_number(r), left = h->weights;
    for (uint32_t i = 0; i < count; i++) {
        kernel k;
        uint32_t weights;
        if (!take_kernel(r, h, &k)) {
            return 0;
        }
        weights = k.rows * k.taps * k.columns;
        if (weights > left) {
            return 0;
        }
        left -= weights;
        decode_places(s, &k);
        if (k.kind == SCALED) {
            decode_scaled(s, &k);
        }
        if (s->c.cut || !(k.sparse ? store_sparse : store_dense)(&k, s->places, output, h->size)) {
            return 0;
        }
    }
    return !r->failed && left == 0 && (count == 0 || finished(&s->c));
}

/* Scales that are other scales, times a factor. */
static int multiply(reader *r, uint8_t *output, uint32_t output_size) {
    uint32_t products = take_number(r), left = output_size / 4; /* no number is made twice */
    for (uint32_t i = 0; i < products && !r->failed; i++) {
        uint32_t offset = take_number(r), source = take_number(r), count = take_number(r), value;
        const uint8_t *factor = take(r, 4);
        uint64_t bytes = 4 * (uint64_t)count;
        if (r->failed || count > left || offset + bytes > output_size || source + bytes > output_size) {
            return 0;
        }
        left -= count;
        for (uint32_t j = 0; j < count; j++) {
            if (!product(output + source + 4 * (size_t)j, factor, &value)) {
                return 0;
            }
            put_little(output + offset + 4 * (size_t)j, value, 4);
        }
    }
    return !r->failed && r->next == r->end;
}

/* ---------------------------------------------------------------------------------------------------- LZMA */

/* The rest and the script are one LZMA stream without a header: Igor Pavlov's format, whose dictionary is the output. */

enum {
    STATES = 12,
    POSITIONS = 16,
    LENGTH_CODER = 2 + 2 * POSITIONS * 8 + 256,
    DISTANCE_CODER = 4 * 64 + 115 + 16, /* slots, their lower bits, and the four lowest */
    LITERAL = STATES * POSITIONS * 2 + STATES * 4 + 2 * LENGTH_CODER + DISTANCE_CODER,
    LITERAL_CODER = 0x300
};

typedef struct lzma {
    const uint8_t *next, *end;
    uint32_t range, code;
    uint16_t *p;
    int cut;
} lzma;

/* Keeps at least 24 bits in the range. */
static void lzma_refill(lzma *l) {
    if (l->range < (uint32_t)1 << 24) {
        l->range <<= 8;
        l->code <<= 8;
        if (l->next == l->end) {
            l->cut = 1;
        } else {
            l->code |= *l->next++;
        }
    }
}

static uint32_t lzma_bit(lzma *l, uint16_t *p) {
    uint32_t bound = (l->range >> 11) * *p, bit;
    if (l->code < bound) {
        l->range = bound;
        *p = (uint16_t)(*p + ((2048 - *p) >> 5));
        bit = 0;
    } else {
        l->range -= bound;
        l->code -= bound;
        *p = (uint16_t)(*p - (*p >> 5));
        bit = 1;
    }
    lzma_refill(l);
    return bit;
}

static uint32_t lzma_tree(lzma *l, uint16_t *p, uint32_t bits) {
    uint32_t m = 1;
    for (uint32_t i = 0; i < bits; i++) {
        m = 2 * m + lzma_bit(l, p + m);
    }
    return m - ((uint32_t)1 << bits);
}

/* Bits that are coded from the lowest up. */
static uint32_t lzma_reverse(lzma *l, uint16_t *p, uint32_t bits) {
    uint32_t m = 1, value = 0;
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t bit = lzma_bit(l, p + m);
        m = 2 * m + bit;
        value |= bit << i;
    }
    return value;
}

static uint32_t lzma_direct(lzma *l, uint32_t bits) {
    uint32_t value = 0;
    while (bits--) {
        uint32_t bit;
        l->range >>= 1;
        bit = l->code >= l->range;
        l->code -= bit ? l->range : 0;
        value = value << 1 | bit;
        lzma_refill(l);
    }
    return value;
}

static uint32_t lzma_length(lzma *l, uint16_t *p, uint32_t position) {
    if (!lzma_bit(l, p)) {
        return 2 + lzma_tree(l, p + 2 + 8 * position, 3);
    }
    if (!lzma_bit(l, p + 1)) {
        return 10 + lzma_tree(l, p + 2 + 8 * (POSITIONS + position), 3);
    }
    return 18 + lzma_tree(l, p + 2 + 16 * POSITIONS, 8);
}

static uint32_t lzma_distance(lzma *l, uint16_t *p, uint32_t length) {
    uint32_t slot = lzma_tree(l, p + 64 * (length < 6 ? length - 2 : 3), 6), bits = (slot >> 1) - 1, distance;
    if (slot < 4) {
        return slot;
    }
    distance = (2 | (slot & 1)) << bits;
    if (slot < 14) {
        return distance + lzma_reverse(l, p + 4 * 64 + distance - slot, bits);
    }
    return distance + (lzma_direct(l, bits - 4) << 4) + lzma_reverse(l, p + 4 * 64 + 115, 4);
}

static void lzma_literal(lzma *l, uint16_t *p, uint8_t *out, uint32_t match, int matched) {
    uint32_t m = 1;
    while (matched && m < 0x100) {
        uint32_t expected = match >> 7 & 1, bit = lzma_bit(l, p + 0x100 + (expected << 8) + m);
        match <<= 1;
        m = 2 * m + bit;
        matched = bit == expected;
    }
    while (m < 0x100) {
        m = 2 * m + lzma_bit(l, p + m);
    }
    *out = (uint8_t)m;
}

static size_t lzma_probabilities(const header *h) {
    return LITERAL + ((size_t)LITERAL_CODER << (h->lc + h->lp));
}

/* Decodes `h->plain` bytes; 0 if the coded ones do not give them. */
static int lzma_decode(const header *h, const uint8_t *coded, uint16_t *p, uint8_t *out) {
    uint16_t *is_match = p, *is_repeated = is_match + STATES * POSITIONS, *is_first = is_repeated + STATES;
    uint16_t *is_second = is_first + STATES, *is_third = is_second + STATES, *is_long = is_third + STATES;
    uint16_t *lengths = is_long + STATES * POSITIONS, *repeated_lengths = lengths + LENGTH_CODER;
    uint16_t *distances = repeated_lengths + LENGTH_CODER, *literals = p + LITERAL;
    uint32_t at = 0, s = 0, back[4] = {0, 0, 0, 0};
    lzma l = {coded, coded + h->coded, 0xFFFFFFFFu, 0, p, 0};
    if (!CHECKSUMS && h->coded == h->plain) { /* fuzzing reaches the script where it is not coded */
        memcpy(out, coded, h->plain);
        return 1;
    }
    if (h->coded < 5 || coded[0] != 0) {
        return h->plain == 0;
    }
    l.code = (uint32_t)coded[1] << 24 | (uint32_t)coded[2] << 16 | (uint32_t)coded[3] << 8 | coded[4];
    l.next += 5;
    for (size_t i = 0; i < lzma_probabilities(h); i++) {
        p[i] = 1024;
    }
    while (at < h->plain) {
        uint32_t position = at & (((uint32_t)1 << h->pb) - 1), length;
        if (l.cut) {
            return 0;
        }
        if (!lzma_bit(&l, is_match + s * POSITIONS + position)) {
            uint32_t before = at ? out[at - 1] : 0, low = at & (((uint32_t)1 << h->lp) - 1);
            uint32_t kind = (low << h->lc) + (before >> (8 - h->lc));
            lzma_literal(&l, literals + (size_t)LITERAL_CODER * kind, out + at, s >= 7 ? out[at - back[0] - 1] : 0,
                         s >= 7);
            s = s < 4 ? 0 : s < 10 ? s - 3 : s - 6;
            at++;
            continue;
        }
        if (!lzma_bit(&l, is_repeated + s)) {
            length = lzma_length(&l, lengths, position);
            back[3] = back[2];
            back[2] = back[1];
            back[1] = back[0];
            back[0] = lzma_distance(&l, distances, length);
            s = s < 7 ? 7 : 10;
        } else {
            uint32_t which = 0, distance;
            if (!lzma_bit(&l, is_first + s)) {
                if (!lzma_bit(&l, is_long + s * POSITIONS + position)) {
                    if (back[0] >= at) {
                        return 0;
                    }
                    out[at] = out[at - back[0] - 1];
                    at++;
                    s = s < 7 ? 9 : 11;
                    continue;
                }
            } else {
                which = !lzma_bit(&l, is_second + s) ? 1 : 2 + lzma_bit(&l, is_third + s);
            }
            distance = back[which];
            for (; which > 0; which--) {
                back[which] = back[which - 1];
            }
            back[0] = distance;
            length = lzma_length(&l, repeated_lengths, position);
            s = s < 7 ? 8 : 11;
        }
        if (back[0] >= at || length > h->plain - at) {
            return 0;
        }
        for (; length > 0; length--, at++) {
            out[at] = out[at - back[0] - 1];
        }
    }
    return !l.cut;
}

/* ------------------------------------------------------------------------------------------- the interface */

/* Where the parts of the workspace begin, from an address that is a multiple of 8. */
typedef struct layout {
    uint64_t states, probabilities, counts, spots, kept, seen, positive, levels, places, plain, end;
} layout;

static uint64_t after(uint64_t *at, uint64_t size) {
    uint64_t start = *at;
    *at += (size + 7) & ~(uint64_t)7;
    return start;
}

static layout lay_out(const header *h) {
    layout w;
    uint64_t at = 0, shared;
    (void)after(&at, sizeof(state));
    w.states = after(&at, 8 * (uint64_t)h->lanes);
    shared = at; /* LZMA has done before the first kernel begins */
    w.probabilities = after(&at, 2 * (uint64_t)lzma_probabilities(h));
    w.end = at;
    at = shared;
    w.counts = after(&at, 4 * (uint64_t)h->channels);
    w.spots = after(&at, 4 * (uint64_t)h->lanes);
    w.kept = after(&at, 2 * (uint64_t)h->area);
    w.seen = after(&at, 2 * (uint64_t)h->lanes);
    w.positive = after(&at, h->lanes);
    w.levels = after(&at, h->channels);
    w.places = after(&at, h->largest);
    at = at > w.end ? at : w.end;
    w.plain = after(&at, h->plain);
    w.end = at + 7; /* to align the beginning */
    return w;
}

/* Reads the header, and lays out the workspace. */
static kdz_code open_packed(const void *packed, size_t packed_size, header *h, layout *w) {
    kdz_code code = packed == NULL ? KDZ_ARGUMENT : read_header(packed, packed_size, h);
    if (code == KDZ_OK) {
        *w = lay_out(h);
        code = w->end > SIZE_MAX / 2 ? KDZ_DAMAGED : KDZ_OK; /* or a file for a machine with wider addresses */
    }
    return code;
}

kdz_code kdz_inspect(const void *packed, size_t packed_size, kdz_info *info) {
    header h;
    layout w;
    kdz_code code = info == NULL ? KDZ_ARGUMENT : open_packed(packed, packed_size, &h, &w);
    if (code == KDZ_OK) {
        info->output_size = h.size;
        info->workspace_size = (size_t)w.end;
        info->weights = h.weights;
        info->plain_size = h.plain;
    }
    return code;
}

/* Points the state into the workspace. */
static void start_state(state *s, uint8_t *base, const layout *w) {
    s->counts = (uint32_t *)(void *)(base + w->counts);
    s->spots = (uint32_t *)(void *)(base + w->spots);
    s->kept = (uint16_t *)(void *)(base + w->kept);
    s->seen = (uint16_t *)(void *)(base + w->seen);
    s->positive = base + w->positive;
    s->levels = base + w->levels;
    s->places = base + w->places;
    start_memory(&s->models);
}

kdz_code kdz_unpack(const void *packed, size_t packed_size, void *output, size_t output_size, void *workspace,
                    size_t workspace_size) {
    header h;
    layout w;
    kdz_code code = open_packed(packed, packed_size, &h, &w);
    const uint8_t *coded = (const uint8_t *)packed + HEADER;
    uint8_t *base = workspace, *plain;
    state *s;
    reader r;
    if (code != KDZ_OK) {
        return code;
    }
    if (output == NULL || workspace == NULL) {
        return KDZ_ARGUMENT;
    }
    if (output_size < h.size) {
        return KDZ_OUTPUT_SMALL;
    }
    if (workspace_size < w.end) {
        return KDZ_WORKSPACE_SMALL;
    }
    base += (8 - (uintptr_t)base % 8) % 8;
    plain = base + w.plain;
    if (!lzma_decode(&h, coded, (uint16_t *)(void *)(base + w.probabilities), plain)) {
        return KDZ_DAMAGED;
    }
    s = (state *)(void *)base;
    start_state(s, base, &w);
    if (h.weights && !start_coder(&s->c, (uint64_t *)(void *)(base + w.states), h.lanes, coded + h.coded,
                                  packed_size - HEADER - h.coded)) {
        return KDZ_DAMAGED;
    }
    r.next = plain;
    r.end = plain + h.script;
    r.failed = 0;
    if (!spread(&r, plain + h.script, h.plain - h.script, output, h.size) || !decode_kernels(&r, &h, s, output) ||
        !multiply(&r, output, h.size) || (crc32(0, output, h.size) != h.checksum && CHECKSUMS)) {
        return KDZ_DAMAGED;
    }
    return KDZ_OK;
}

const char *kdz_message(kdz_code code) {
    static const char *const texts[] = {
        "done",
        "not a packed .tflite file",
        "a packed file of another version of the format",
        "the packed file ends too early",
        "the packed file is damaged",
        "the buffer for the .tflite file is too small",
        "the workspace is too small",
        "a pointer is null",
    };
    return (unsigned)code < sizeof texts / sizeof *texts ? texts[code] : "no such code";
}
