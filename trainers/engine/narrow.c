/* An evaluation-mode small CNN and its gradient with respect to the images, sample by sample.

   Compiled for one shape: CHANNELS, HEIGHT, WIDTH of the images, NARROW channels after the first
   convolution and twice as many after the others, CLASSES. A sample goes through the network while
   it lies in the first cache. Activations are held channels last, in a border of zeros that nothing
   writes; they are static, so one thread at a time may call.

   A vector holds output channels of one pixel, or of two where there are half as many. Pooling
   takes the gradient of a channel to one pixel of four, so the middle convolution is taken back
   from those alone: each adds to its window of 4 x 4 pixels, through weights shifted to its place
   in the window. */
#include <math.h>
#include <string.h>

#define WIDE (2 * NARROW)
#if defined(__AVX512F__) && WIDE % 16 == 0
#define LANES 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX__) && WIDE % 8 == 0
#define LANES 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define LANES 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define SUMS 28 /* vectors that stay in registers, of 32 */
#else
#define SUMS 12 /* of 16 */
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define UNROLL _Pragma("GCC unroll 32")
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif
#define ALIGNED __attribute__((aligned(64)))
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef short shorts __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* How many of n rows, columns or vectors a block takes, up to `limit`: a divisor of n; of columns
   that only if it is large enough, as a last block may be moved back over the one before. */
#define TRY(n, limit, d, other) ((d) <= (limit) && (n) % (d) == 0 ? (d) : (other))
#define DIVISOR(n, limit) TRY(n, limit, n, TRY(n, limit, 8, TRY(n, limit, 7, TRY(n, limit, 6, \
    TRY(n, limit, 5, TRY(n, limit, 4, TRY(n, limit, 3, TRY(n, limit, 2, 1))))))))
#define CEILING(n, d) (((n) + (d) - 1) / (d))
#define CUT(n, limit) ((n) <= (limit) || 2 * DIVISOR(n, limit) > (limit) \
    ? DIVISOR(n, limit) : CEILING(n, CEILING(n, limit)))

enum {
    PARTS = WIDE / LANES,
    CLASS_PARTS = CEILING(CLASSES, LANES),
    HALF_HEIGHT = HEIGHT / 2,
    HALF_WIDTH = WIDTH / 2,
    AREA = HALF_HEIGHT * HALF_WIDTH,
    STEM_PAIRS = CUT(HALF_WIDTH, SUMS),
    STEM_COLUMNS = 2 * STEM_PAIRS,
    STEM_ROWS = DIVISOR(HEIGHT, SUMS / STEM_PAIRS),
    STEM_BLOCKS = HEIGHT / STEM_ROWS * CEILING(WIDTH, STEM_COLUMNS) * PARTS,
    MIDDLE_COLUMNS = 2 * CUT(HALF_WIDTH, SUMS / 4),
    LAST_COLUMNS = CUT(HALF_WIDTH, SUMS),
    LAST_ROWS = DIVISOR(HALF_HEIGHT, SUMS / LAST_COLUMNS),
    LAST_BLOCKS = HALF_HEIGHT / LAST_ROWS * CEILING(HALF_WIDTH, LAST_COLUMNS) * PARTS,
    WINDOW_PARTS = DIVISOR(2 * PARTS, SUMS / 4),
    GROUP = LANES >= 8 && WIDTH >= 8 ? 8 : WIDTH >= 4 ? 4 : 2,
};

/* Block by block; the last of a row is moved back over the one before, if it would not fit. */
#define BLOCKS(rows, columns, height, width) \
    for (int row = 0; row < (height); row += (rows)) \
        for (int left = 0, column = 0; column = left + (columns) <= (width) ? left \
                 : (width) - (columns), left < (width); left += (columns)) \
            for (int part = 0; part < PARTS; part++)

/* Weights with normalisation folded in, in the order in which they are read. */
struct packed {
    ALIGNED float mean[CHANNELS], inverse_std[CHANNELS];
    ALIGNED vec stem[PARTS][CHANNELS][3][4], stem_bias[PARTS];
    vec middle[PARTS][NARROW][3][3], middle_bias[PARTS];
    vec last[PARTS][WIDE][3][3], last_bias[PARTS];
    vec linear[CLASS_PARTS][WIDE], linear_bias[CLASS_PARTS];
    vec back_linear[PARTS][CLASSES];
    vec back_last[PARTS][WIDE][3][3];
    vec back_middle[WIDE][2][5][2 * PARTS];
    vec back_stem[CHANNELS][3][2][2 * PARTS];
};

/* What the backward pass needs of a sample. Stem and last: bit s of a lane is set where sum s of
   the block is above 0. Middle: in back_middle, where the weights for the largest of the four
   pixels begin; a negative number where it is not above 0. */
struct kept {
    ints stem[STEM_BLOCKS], last[LAST_BLOCKS];
    short middle[AREA][WIDE];
};

static ALIGNED float input[CHANNELS][HEIGHT + 2][WIDTH + 2];
static ALIGNED float stem[HEIGHT + 2][WIDTH + 2][NARROW];
static ALIGNED vec pooled[HALF_HEIGHT + 2][HALF_WIDTH + 2][PARTS];
static ALIGNED vec mean[PARTS];

long packed_bytes(void) { return sizeof(struct packed); }
long kept_bytes(void) { return sizeof(struct kept); }

INLINE vec masked(vec x, ints mask) { return (vec)((ints)x & mask); }
INLINE ints choose(ints mask, ints x, ints other) { return (mask & x) | (~mask & other); }
INLINE vec relu(vec x) { return masked(x, ~(x <= 0)); } /* NaN stays NaN */
INLINE ints above(vec x, int bit) { return ~(x <= 0) & (1 << bit); }
INLINE ints is_set(ints bits, int bit) { return (bits & (1 << bit)) != 0; }

/* A 3 x 3 convolution of rows x columns sums: from `start`, over channels. In the stem a sum holds
   two pixels, and so has four taps in a row. is_high, is_wide: the block holds all rows, columns of
   the image, so that taps on its border are zero. */
INLINE void convolve(vec *sums, vec start, int rows, int columns, int taps, const float *from,
                     int channels, long channel_step, long row_step, long pixel_step, int is_high,
                     int is_wide, const vec *weights) {
    EACH(s, rows * columns) sums[s] = start;
    for (int i = 0; i < channels; i++, from += channel_step, weights += 3 * taps) {
        EACH(k, 3) {
            EACH(l, taps) {
                vec w = weights[k * taps + l];
                __asm__ volatile("" ::: "memory"); /* or inputs would be kept and sums spilled */
                EACH(s, rows * columns) {
                    int y = s / columns + k, x = s % columns * (taps - 2) + l;
                    if (is_high && (y == 0 || y == rows + 1)) continue;
                    if (is_wide && (x == 0 || x == columns + 1)) continue;
                    sums[s] += w * from[y * row_step + x * pixel_step];
                }
            }
        }
    }
}

/* The last convolution, or that back through it, of what `pooled` holds. */
INLINE void convolve_pooled(vec *sums, vec start, int row, int column, const vec *weights) {
    convolve(sums, start, LAST_ROWS, LAST_COLUMNS, 3, (float *)pooled[row][column], WIDE, 1,
             (HALF_WIDTH + 2) * WIDE, WIDE, (int)LAST_ROWS == HALF_HEIGHT,
             (int)LAST_COLUMNS == HALF_WIDTH, weights);
}

/* start + x[0] * rows[0] + … + x[count - 1] * rows[count - 1], in four sums. */
INLINE vec combine(vec start, const float *x, int count, const vec *rows) {
    vec sums[4] = {start};
    int j = 0;
    for (; j + 4 <= count; j += 4) EACH(s, 4) sums[s] += x[j + s] * rows[j + s];
    for (; j < count; j++) sums[0] += x[j] * rows[j];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void stem_forward(const struct packed *w, const float *image, ints *kept) {
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                input[c][y + 1][x + 1] = (*image++ - w->mean[c]) * w->inverse_std[c];
    BLOCKS(STEM_ROWS, STEM_COLUMNS, HEIGHT, WIDTH) {
        vec sums[STEM_ROWS * STEM_PAIRS];
        ints bits = {0};
        convolve(sums, w->stem_bias[part], STEM_ROWS, STEM_PAIRS, 4, &input[0][row][column],
                 CHANNELS, (HEIGHT + 2) * (WIDTH + 2), WIDTH + 2, 1, 0, 0, w->stem[part][0][0]);
        EACH(s, STEM_ROWS * STEM_PAIRS) {
            int y = row + s / STEM_PAIRS, x = column + 2 * (s % STEM_PAIRS);
            ((vec *)stem[y + 1][x + 1])[part] = relu(sums[s]);
            bits |= above(sums[s], s);
        }
        if (kept) *kept++ = bits;
    }
}

static void middle_forward(const struct packed *w, short (*kept)[WIDE]) {
    BLOCKS(2, MIDDLE_COLUMNS, 2 * HALF_HEIGHT, 2 * HALF_WIDTH) {
        vec sums[2 * MIDDLE_COLUMNS];
        convolve(sums, w->middle_bias[part], 2, MIDDLE_COLUMNS, 3, stem[row][column], NARROW, 1,
                 (WIDTH + 2) * NARROW, NARROW, 0, (int)MIDDLE_COLUMNS == WIDTH,
                 w->middle[part][0][0]);
        EACH(s, MIDDLE_COLUMNS / 2) {
            int y = row / 2, x = column / 2 + s;
            vec largest = sums[2 * s];
            ints place = (ints){0} + 2 * PARTS;
            UNROLL for (int other = 1; other < 4; other++) {
                vec next = sums[2 * s + other % 2 + other / 2 * MIDDLE_COLUMNS];
                ints is_larger = (next > largest) | (next != next), there = {0};
                there += (5 * (other % 2) + 1 - other / 2) * 2 * PARTS;
                largest = (vec)choose(is_larger, (ints)next, (ints)largest);
                place = choose(is_larger, there, place);
            }
            pooled[y + 1][x + 1][part] = relu(largest);
            place |= (largest <= 0) & -0x8000;
            if (kept)
                ((shorts *)kept[y * HALF_WIDTH + x])[part] = __builtin_convertvector(place, shorts);
        }
    }
}

static void last_forward(const struct packed *w, ints *kept) {
    vec totals[PARTS] = {{0}};
    BLOCKS(LAST_ROWS, LAST_COLUMNS, HALF_HEIGHT, HALF_WIDTH) {
        vec sums[LAST_ROWS * LAST_COLUMNS];
        ints bits = {0};
        convolve_pooled(sums, w->last_bias[part], row, column, w->last[part][0][0]);
        EACH(s, LAST_ROWS * LAST_COLUMNS) {
            int is_new = HALF_WIDTH % LAST_COLUMNS == 0 || column + s % LAST_COLUMNS >= left;
            if (is_new) totals[part] += relu(sums[s]); /* once, where blocks overlap */
            bits |= above(sums[s], s);
        }
        if (kept) *kept++ = bits;
    }
    for (int part = 0; part < PARTS; part++) mean[part] = totals[part] / AREA;
}

/* images: n times CHANNELS x HEIGHT x WIDTH. kept: n, or null where no gradient will be asked. */
void classify(const struct packed *w, const float *images, long n, float *logits,
              struct kept *kept) {
    for (; n > 0; n--, images += CHANNELS * HEIGHT * WIDTH, logits += CLASSES) {
        stem_forward(w, images, kept ? kept->stem : 0);
        middle_forward(w, kept ? kept->middle : 0);
        last_forward(w, kept ? kept->last : 0);
        for (int part = 0; part < CLASS_PARTS; part++) {
            vec sums = combine(w->linear_bias[part], (float *)mean, WIDE, w->linear[part]);
            int left = CLASSES - part * LANES;
            memcpy(logits + part * LANES, &sums, (left < LANES ? left : LANES) * sizeof(float));
        }
        if (kept) kept++;
    }
}

static void last_backward(const struct packed *w, const struct kept *kept, const float *by_logits,
                          float (*by_pooled)[WIDE]) {
    const ints *bits = kept->last;
    vec by_mean[PARTS];
    for (int part = 0; part < PARTS; part++)
        by_mean[part] = combine((vec){0}, by_logits, CLASSES, w->back_linear[part]);
    BLOCKS(LAST_ROWS, LAST_COLUMNS, HALF_HEIGHT, HALF_WIDTH) {
        EACH(s, LAST_ROWS * LAST_COLUMNS) {
            int y = row + s / LAST_COLUMNS, x = column + s % LAST_COLUMNS;
            pooled[y + 1][x + 1][part] = masked(by_mean[part], is_set(*bits, s));
        }
        bits++;
    }
    BLOCKS(LAST_ROWS, LAST_COLUMNS, HALF_HEIGHT, HALF_WIDTH) {
        vec sums[LAST_ROWS * LAST_COLUMNS];
        convolve_pooled(sums, (vec){0}, row, column, w->back_last[part][0][0]);
        EACH(s, LAST_ROWS * LAST_COLUMNS) {
            int at = (row + s / LAST_COLUMNS) * HALF_WIDTH + column + s % LAST_COLUMNS;
            shorts places = ((const shorts *)kept->middle[at])[part];
            ints is_alive = __builtin_convertvector(places, ints) >= 0;
            ((vec *)by_pooled[at])[part] = masked(sums[s], is_alive);
        }
    }
}

/* Window by window, added to `around`, which includes the border of the image. */
static void middle_backward(const struct packed *w, const short (*places)[WIDE],
                            float (*by_pooled)[WIDE], float (*around)[WIDTH + 2][NARROW]) {
    for (int pixel = 0; pixel < AREA; pixel++)
        for (int first = 0; first < 2 * PARTS; first += WINDOW_PARTS) {
            int y = 2 * (pixel / HALF_WIDTH), x = 2 * (pixel % HALF_WIDTH);
            vec sums[4 * WINDOW_PARTS];
            EACH(s, 4 * WINDOW_PARTS) sums[s] = (vec){0};
            const vec *weights = w->back_middle[0][0][0] + first;
            for (int channel = 0; channel < WIDE; channel++, weights += 20 * PARTS) {
                const vec *shifted = weights + (places[pixel][channel] & 0x7fff);
                EACH(s, 4 * WINDOW_PARTS)
                    sums[s] += by_pooled[pixel][channel] *
                        shifted[s / WINDOW_PARTS * 2 * PARTS + s % WINDOW_PARTS];
            }
            EACH(s, 4 * WINDOW_PARTS)
                ((vec *)around[y + s / WINDOW_PARTS][x])[first + s % WINDOW_PARTS] += sums[s];
        }
}

/* Sums of the lanes of GROUP vectors: halves the number of vectors, then of lanes that matter. */
INLINE vec lane_sums(vec *sums) {
    UNROLL for (int lanes = LANES, count = GROUP; lanes > 1; lanes /= 2, count = (count + 1) / 2) {
        EACH(s, GROUP / 2) {
            if (2 * s >= count) continue;
            vec a = sums[2 * s], b = count > 1 ? sums[2 * s + 1] : a;
            sums[s] = SHUFFLE(a, b, EVEN) + SHUFFLE(a, b, ODD);
        }
    }
    return sums[0];
}

static void stem_backward(const struct packed *w, float (*by_stem)[WIDTH + 2][NARROW],
                          float *gradient) {
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < HEIGHT; y++, gradient += WIDTH)
            for (int left = 0; left < WIDTH; left += GROUP) {
                int column = left + GROUP <= WIDTH ? left : WIDTH - GROUP;
                vec sums[GROUP];
                EACH(s, GROUP) sums[s] = (vec){0};
                for (int k = 0; k < 3; k++)
                    for (int part = 0; part < 2 * PARTS; part++)
                        EACH(s, GROUP) {
                            vec x = ((vec *)by_stem[y + k][column + s / 2 * 2])[part];
                            sums[s] += x * w->back_stem[c][k][s % 2][part];
                        }
                vec all = lane_sums(sums);
                memcpy(gradient + column, &all, GROUP * sizeof(float));
            }
}

/* by_logits: n times CLASSES; gradient: as the images. */
void differentiate(const struct packed *w, const struct kept *kept, const float *by_logits, long n,
                   float *gradient) {
    static ALIGNED float by_pooled[AREA][WIDE];
    static ALIGNED float around[HEIGHT + 2][WIDTH + 2][NARROW];
    static ALIGNED float by_stem[HEIGHT + 2][WIDTH + 2][NARROW];
    for (; n > 0; n--, kept++, by_logits += CLASSES, gradient += CHANNELS * HEIGHT * WIDTH) {
        const ints *bits = kept->stem;
        last_backward(w, kept, by_logits, by_pooled);
        memset(around, 0, sizeof around);
        middle_backward(w, kept->middle, by_pooled, around);
        BLOCKS(STEM_ROWS, STEM_COLUMNS, HEIGHT, WIDTH) {
            EACH(s, STEM_ROWS * STEM_PAIRS) {
                int y = row + s / STEM_PAIRS + 1, x = column + 2 * (s % STEM_PAIRS) + 1;
                vec all = ((vec *)around[y][x])[part];
                ((vec *)by_stem[y][x])[part] = masked(all, is_set(*bits, s));
            }
            bits++;
        }
        stem_backward(w, by_stem, gradient);
    }
}

/* weight: output, 3, 3, input. norm: weight, bias, running mean, running variance. */
struct convolution {
    const float *weight, *norm[4];
    float tiny;
};

/* Fold a batch normalisation into the convolution before it. */
static const float *fold(const struct convolution *from, int outputs, int inputs, float *bias) {
    static float folded[WIDE * 9 * WIDE];
    for (int o = 0; o < outputs; o++) {
        float scale = from->norm[0][o] / sqrtf(from->norm[3][o] + from->tiny);
        bias[o] = from->norm[1][o] - from->norm[2][o] * scale;
        for (int i = o * 9 * inputs; i < (o + 1) * 9 * inputs; i++)
            folded[i] = from->weight[i] * scale;
    }
    return folded;
}

/* Not as x[lane], which some compilers do by writing the whole vector back. */
INLINE void put(vec *to, int lane, float x) { ((float *)to)[lane] = x; }

#define TAPS(o, k, l, i, outputs, inputs) \
    for (int o = 0; o < outputs; o++) for (int k = 0; k < 3; k++) \
        for (int l = 0; l < 3; l++) for (int i = 0; i < inputs; i++, x++)

/* Read the current weights. What stays zero is not written: `w` starts as zeros. */
void pack(struct packed *w, const float *channel_mean, const float *std,
          const struct convolution *from, const float *linear, const float *linear_bias) {
    const float *x = fold(from, NARROW, CHANNELS, (float *)w->stem_bias);
    memcpy((float *)w->stem_bias + NARROW, w->stem_bias, sizeof(float) * NARROW);
    for (int c = 0; c < CHANNELS; c++) {
        w->mean[c] = channel_mean[c];
        w->inverse_std[c] = 1 / std[c];
    }
    TAPS(o, k, l, c, NARROW, CHANNELS)
        for (int pixel = 0; pixel < 2; pixel++) {
            int lane = pixel * NARROW + o;
            put(&w->stem[lane / LANES][c][k][l + pixel], lane % LANES, *x);
            put(w->back_stem[c][2 - k][pixel], (2 - l) * NARROW + lane, *x * w->inverse_std[c]);
        }
    x = fold(from + 1, WIDE, NARROW, (float *)w->middle_bias);
    TAPS(o, k, l, i, WIDE, NARROW) {
        put(&w->middle[o / LANES][i][k][l], o % LANES, *x);
        put(w->back_middle[o][0][k + 1], l * NARROW + i, *x);
        put(w->back_middle[o][1][k + 1], (l + 1) * NARROW + i, *x);
    }
    x = fold(from + 2, WIDE, WIDE, (float *)w->last_bias);
    TAPS(o, k, l, i, WIDE, WIDE) {
        put(&w->last[o / LANES][i][k][l], o % LANES, *x);
        put(&w->back_last[i / LANES][o][2 - k][2 - l], i % LANES, *x);
    }
    memcpy(w->linear_bias, linear_bias, sizeof(float) * CLASSES);
    for (int k = 0; k < CLASSES; k++)
        for (int c = 0; c < WIDE; c++, linear++) {
            put(&w->linear[k / LANES][c], k % LANES, *linear);
            put(&w->back_linear[c / LANES][k], c % LANES, *linear / AREA);
        }
}
