// What the lanes of a warp do together: the scheduler calls this when all lanes of a mask have come.
#include <math.h>
#include <string.h>

#include "kernels.h"

enum { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX, WARP_BARRIER, VOTE, LOAD_MATRIX, PRODUCT };

// shfl.sync: posted[0] the value, [1] and [2] the operands b and c. Results: [0] the value, [1] whether it is another
// lane's. PTX ISA, section shfl.sync.
static void shuffle(Thread** lanes, uint32_t mask) {
    uint32_t value[WARP] = {0};
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) value[i] = lanes[i]->posted[0];
    for (uint32_t lane = 0; lane < WARP; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Thread* t = lanes[lane];
        uint32_t b = t->posted[1] & 31, clamp = t->posted[2] & 31, segment = t->posted[2] >> 8 & 31;
        int most = (int)((lane & segment) | (clamp & ~segment)), least = (int)(lane & segment), from = (int)lane;
        bool in_range = false;
        if (t->kind == SHUFFLE_UP) from = (int)lane - (int)b, in_range = from >= most;
        if (t->kind == SHUFFLE_DOWN) from = (int)(lane + b), in_range = from <= most;
        if (t->kind == SHUFFLE_BFLY) from = (int)(lane ^ b), in_range = from <= most;
        if (t->kind == SHUFFLE_IDX) from = least | (int)(b & ~segment), in_range = from <= most;
        if (!in_range) from = (int)lane;
        if (!(mask >> from & 1))
            fault(LAUNCH_FAILED, t, t->line, "lane %u reads lane %d, which is not in the mask 0x%x", lane, from, mask);
        t->posted[0] = value[from & 31];
        t->posted[1] = in_range;
    }
}

// vote.sync: posted[0] the predicate. Result: [0] a bit for each lane in which it holds.
static void vote(Thread** lanes, uint32_t mask) {
    uint32_t ballot = 0;
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1 && lanes[i]->posted[0]) ballot |= 1u << i;
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) lanes[i]->posted[0] = ballot;
}

// ldmatrix: each lane posts the address of a row of 16 bytes, 8 rows make a matrix of 8 x 8 elements of 16 bits. Lane
// l gets, of each matrix, the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4; transposed, of column l / 4.
static void load_matrix(Thread** lanes, uint32_t count, bool transposed) {
    uint16_t matrix[4][8][8];
    for (uint32_t row = 0; row < 8 * count; ++row) {
        Thread* t = lanes[row];
        const char* from = place(t, t->posted[0], 16, SHARED_SPACE, READ, t->line);
        if (!from) return;
        memcpy(matrix[row / 8][row % 8], from, 16);
    }
    for (uint32_t lane = 0; lane < WARP; ++lane)
        for (uint32_t m = 0; m < count; ++m) {
            uint32_t line = lane / 4, at = lane % 4 * 2;
            uint16_t low = transposed ? matrix[m][at][line] : matrix[m][line][at];
            uint16_t high = transposed ? matrix[m][at + 1][line] : matrix[m][line][at + 1];
            lanes[lane]->posted[m] = low | (uint32_t)high << 16;
        }
}

// -- mma.sync m16n8: D (16 x 8) = A (16 x k) B (k x 8) + C ------------------------------------------------------------
enum { BFLOAT16, FLOAT16, TFLOAT32, SIGNED8, UNSIGNED8 };

static double half(uint32_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                  : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                 : ldexp(fraction, -24);
    return bits >> 15 ? -size : size;
}

static double element(uint32_t word, uint32_t index, uint32_t type) {
    uint32_t bits;
    float value;
    switch (type) {
        case BFLOAT16:
            bits = (word >> 16 * index & 0xffff) << 16;
            memcpy(&value, &bits, 4);
            return (double)value;
        case FLOAT16:
            bits = word >> 16 * index & 0xffff;
            return half(bits);
        case TFLOAT32:
            bits = word & ~0x1fffu;  // the lower bits are not looked at
            memcpy(&value, &bits, 4);
            return (double)value;
        case SIGNED8:
            return (double)(int8_t)(word >> 8 * index);
        default:
            return (double)(uint8_t)(word >> 8 * index);
    }
}

// A lane posts its fragments of A, B and C, in this order. With g = lane / 4, t = lane % 4 and E elements in a word,
// word i of A has row g + 8 (i % 2) and columns E t + 4 E (i / 2) …; word i of B has column g and rows E t + 4 E i …;
// element i of C has row g + 8 (i / 2) and column 2 t + i % 2. PTX ISA, section "matrix fragments for mma.m16n8k16" and
// others.
static void multiply(Thread** lanes, uint32_t type, uint32_t k) {
    double a[16][64], b[64][8];
    const uint32_t per_word = type == TFLOAT32 ? 1 : type >= SIGNED8 ? 4 : 2;
    const uint32_t b_words = k / (4 * per_word), a_words = 2 * b_words;
    for (uint32_t lane = 0; lane < WARP; ++lane) {
        const uint32_t *word = lanes[lane]->posted, g = lane / 4, t = lane % 4;
        for (uint32_t e = 0; e < per_word; ++e) {
            for (uint32_t i = 0; i < a_words; ++i)
                a[g + 8 * (i % 2)][per_word * t + e + 4 * per_word * (i / 2)] = element(word[i], e, type);
            for (uint32_t i = 0; i < b_words; ++i)
                b[per_word * t + e + 4 * per_word * i][g] = element(word[a_words + i], e, type);
        }
    }
    for (uint32_t lane = 0; lane < WARP; ++lane)
        for (uint32_t i = 0; i < 4; ++i) {
            uint32_t row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
            uint32_t *posted = lanes[lane]->posted, c = posted[a_words + b_words + i];
            float real;
            memcpy(&real, &c, 4);
            // Products are exact, and so are sums of integers; sums of floats are rounded once, where a GPU may do it
            // several times.
            double sum = type >= SIGNED8 ? (double)(int32_t)c : (double)real;
            for (uint32_t j = 0; j < k; ++j) sum += a[row][j] * b[j][column];
            real = (float)sum;
            memcpy(&posted[i], &real, 4);
            if (type >= SIGNED8) posted[i] = (uint32_t)(int64_t)sum;
        }
}

bool finish_collective(Thread** lanes, uint32_t mask) {
    const Thread* first = lanes[__builtin_ctz(mask)];
    uint32_t kind = first->kind & 255, detail = first->kind >> 8;
    if (kind == VOTE)
        vote(lanes, mask);
    else if (kind == WARP_BARRIER)
        ++launch.warp_barriers[first->number / WARP];
    else if (kind == LOAD_MATRIX)
        load_matrix(lanes, detail & 7, detail >> 3);
    else if (kind == PRODUCT)
        multiply(lanes, detail & 7, detail >> 3);
    else
        shuffle(lanes, mask);
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) lanes[i]->state = READY;
    return true;
}
