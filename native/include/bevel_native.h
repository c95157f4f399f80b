/* bevel's native CPU library: smoothed piecewise-quadratic functions, forward and backward in one pass over memory.
 *
 * A plain C interface without any link to torch or Python. The function, for K knots with u_i = (x - knot_i)*n, w = 1/n,
 * v_i = |u_i|, right_i = [x > knot_i] and a kernel's half-line forms survival, excess and moment = excess + v*survival:
 *
 *     value = left*x + offset + sum right_i*(jump_i*(x - knot_i) + step_i)              the kinked line
 *           + sum jump_i*w*excess(v_i)                                                  smoothed kinks
 *             (multiplies_cdf: - jump_i*w*v_i*survival(v_i))
 *           + sum step_i*(right_i ? -survival(v_i) : survival(v_i))                     smoothed steps
 *           + sum (c0_i + c1_i*x)*w*moment(v_i)                                         SAU's other forms
 *
 * and with bends, whose kernel has a second tail integral and a finite variance,
 *
 *           + left_bend*x^2/2 + sum right_i*bend_i*(x - knot_i)^2/2                     the parabolas
 *           + sum bend_i*w^2*(right_i ? -second(v_i) : second(v_i))                     smoothed bends
 *           + variance*w^2/2*(left_bend + sum right_i*bend_i)                           what is left of them
 *
 * A coefficient is affine in the caller's parameters, or has products of two:
 *
 *     slot = constant[slot] + sum of factor*parameter over its terms + sum of factor*first*second over its products
 *
 * and backward returns the gradient of the parameters themselves. Slots are numbered
 *
 *     0 left, 1 offset, 2+i knot_i, 2+K+i jump_i, 2+2K+i step_i, 2+3K+i c0_i, 2+4K+i c1_i, 2+5K n (or log n),
 *     and with bends 3+5K left_bend, 4+5K+i bend_i
 *
 * Arithmetic is float64 for float64 tensors and float32 otherwise; coefficients are formed in float64 and their rounding
 * is carried along, so that tails keep their relative accuracy. NaN gives NaN; +-inf gives the limit. Results do not
 * depend on the number of threads, except for the order in which parameter gradients are summed, which is fixed for a
 * given number. All functions may be called from several threads at once.
 */
#ifndef BEVEL_NATIVE_H
#define BEVEL_NATIVE_H

#include <stdint.h>

#if defined(__GNUC__)
#define BEVEL_API __attribute__((visibility("default")))
#else
#define BEVEL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define BEVEL_ABI 5       /* changes whenever a struct or a meaning below does */
#define BEVEL_MAX_KNOTS 8 /* slots: at most 4 + 6*8 = 52 */
#define BEVEL_MAX_PARAMS 52

enum bevel_dtype { BEVEL_F32 = 0, BEVEL_F64 = 1, BEVEL_BF16 = 2, BEVEL_F16 = 3 };

enum bevel_kernel {
    BEVEL_SHARP = 0, /* no smoothing: the kinked line itself; n is ignored and has gradient 0 */
    BEVEL_GAUSSIAN = 1,
    BEVEL_LOGISTIC = 2,
    BEVEL_LAPLACE = 3,
    BEVEL_STUDENT = 4,
    BEVEL_BOX = 5,
    BEVEL_TRIANGLE = 6,
    BEVEL_EPANECHNIKOV = 7,
    BEVEL_BIWEIGHT = 8,
    BEVEL_TRIWEIGHT = 9,
    BEVEL_COSINE = 10,
    BEVEL_CAUCHY = 11, /* steps only: its excess and moment are infinite, and a plan that needs them is refused */
    BEVEL_BUMP = 12,
    BEVEL_TABULATED = 13,
    BEVEL_GELU_TANH = 14
};

enum bevel_status {
    BEVEL_OK = 0,
    BEVEL_BAD_ABI = 1,    /* plan->abi is not BEVEL_ABI */
    BEVEL_BAD_PLAN = 2,   /* a count, slot, parameter index, dtype or length out of range, or a missing table */
    BEVEL_BAD_LAYOUT = 3, /* a negative size, an unknown dtype, or channels unlike a parameter's length */
    BEVEL_BAD_KERNEL = 4, /* unknown, or cauchy with jumps, c0 or c1, or cauchy or student with bends */
    BEVEL_NO_MEMORY = 5
};

typedef struct bevel_term { /* slot += factor * parameter */
    int32_t slot;
    int32_t param;
    double factor;
} bevel_term;

typedef struct bevel_product { /* slot += factor * first * second; both may be one parameter */
    int32_t slot;
    int32_t first, second;
    int32_t reserved;
    double factor;
} bevel_product;

/* What an activation is: fixed between calls, shared by all threads, read only. */
typedef struct bevel_plan {
    int32_t abi;    /* BEVEL_ABI */
    int32_t kernel; /* enum bevel_kernel */
    int32_t knots;  /* K, 0..BEVEL_MAX_KNOTS; knots need not be sorted */
    int32_t multiplies_cdf; /* 0: a jump is a smoothed ramp; 1: jump*(x - knot)*cdf */
    int32_t log_n;  /* 1: slot 2+5K holds log n */
    int32_t params; /* 0..BEVEL_MAX_PARAMS */
    int32_t terms;
    int32_t panels;              /* of the table; 0 for other kernels */
    int32_t bends;               /* 1: the slots of bends exist */
    int32_t products;
    const double *constant;      /* by slot */
    const bevel_term *term;      /* `terms` of them */
    const bevel_product *product; /* `products` of them */
    const int32_t *param_dtype;  /* BEVEL_F32 or BEVEL_F64, one a parameter */
    const int64_t *param_length; /* 1, or the number of channels */
    const double *table;         /* BEVEL_TABULATED: [3][panels][11], see bevel_table_single, then [panels][12] */
    const float *table_single;   /* BEVEL_TABULATED: what bevel_table_single wrote, or NULL to do without */
} bevel_plan;

/* How a tensor lies: element (o, c, i) is at base + o*stride[0] + c*stride[1] + i*stride[2], in elements. A dimension
 * of size one may have any stride. Fast are: inner stride 1; or inner == 1 with channel stride 1 (channels last). */
typedef struct bevel_layout {
    int32_t dtype; /* of x, y, g and dx */
    int32_t reserved;
    int64_t outer, channels, inner;
    int64_t x[3], y[3], g[3], dx[3]; /* y: forward only; g, dx: backward only */
} bevel_layout;

BEVEL_API int32_t bevel_abi(void);             /* BEVEL_ABI of the library */
BEVEL_API const char *bevel_isa(void);         /* "avx512", "avx2", "sse2" or "neon"; BEVEL_ISA=... asks for a lower one */
BEVEL_API const char *bevel_openmp(void);      /* file of the OpenMP runtime in use, or "none": then all is one thread */
BEVEL_API const char *bevel_message(int code); /* of enum bevel_status */

/* y = f(x). `param[j]` points to param_length[j] numbers of param_dtype[j]. Uses at most `threads` threads of the OpenMP
 * runtime that the process has already loaded (torch's, if torch is there); small tensors use one. y may be x. */
BEVEL_API int bevel_forward(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                            const void *const *param, const void *x, void *y);

/* dx = g*f'(x) and, in the same pass, dparam[j] = sum of g * df/dparam_j (over all, or per channel), in that
 * parameter's dtype and length. dx == NULL, dparam == NULL and dparam[j] == NULL mean: not wanted. dx may be g, or
 * x. */
BEVEL_API int bevel_backward(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                             const void *const *param, const void *x, const void *g, void *dx, void *const *dparam);

/* |slope| from which on y = slope*x tells x: below, y becomes subnormal where x matters. Half precision has few exponents. */
static inline double bevel_least_slope(int32_t dtype) { return dtype == BEVEL_F16 ? 1e-4 : dtype == BEVEL_F64 ? 1e-290 : 1e-30; }

/* Whether y tells x, at these parameters, as well as backward needs to know it: 1 or 0. So it is for a smooth function of
 * one knot at 0, without offset and step, whose slope keeps its sign: no end is flat, nor 10^4 times as flat as the other,
 * and a Gaussian's tails do not bend the function so far that its slope comes near zero. */
BEVEL_API int32_t bevel_output_tells(const bevel_plan *plan, const bevel_layout *layout, const void *const *param);

/* Where y tells x: bevel_backward given y in place of x, and x itself. Here dx may be g, and x may be y. */
BEVEL_API int bevel_backward_from_output(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                                         const void *const *param, const void *y, const void *g, void *dx,
                                         void *const *dparam);
BEVEL_API int bevel_inverse(const bevel_plan *plan, const bevel_layout *layout, int32_t threads, const void *const *param,
                            const void *y, void *x);

/* What differentiates the results of bevel_backward. `a` is the cotangent of its dx and cotangent[j] that of its dparam[j], in
 * the parameter's dtype and length; with F = a*df/dx + sum of cotangent[j]*df/dparam_j the results are, by g: h = F; by x:
 * dx = g*dF/dx; by the parameters: dparam[j] = sum of g*dF/dparam_j. F is also the derivative of f along (a, cotangent).
 * cotangent == NULL and cotangent[j] == NULL mean zero; g == NULL means 1, and a == NULL means `every`, in each element: with
 * every = 1 alone, h is the slope and dx the second derivative. A result that is NULL is not wanted. x, g, a, h and dx are
 * dense, element (o, c, i) at (o*channels + c)*inner + i, whatever the layout's strides are. h and dx may be g or a. */
BEVEL_API int bevel_second(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                           const void *const *param, const void *const *cotangent, const void *x, const void *g,
                           const void *a, double every, void *h, void *dx, void *const *dparam);

/* Two inputs, as in SwiGLU: y = f(min(gate, limit))*(clamp(up, -limit, limit) + up_offset); an infinite limit is none. Strides
 * of gate are layout->x, of up layout->y, of g layout->g, and those of y, dgate and dup layout->dx. Null results are not
 * wanted. A gate above the limit has gradient 0, and so has an up beyond it. */
BEVEL_API int bevel_pair_forward(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                                 const void *const *param, double limit, double up_offset, const void *gate,
                                 const void *up, void *y);
BEVEL_API int bevel_pair_backward(const bevel_plan *plan, const bevel_layout *layout, int32_t threads,
                                  const void *const *param, double limit, double up_offset, const void *gate,
                                  const void *up, const void *g, void *dgate, void *dup, void *const *dparam);

/* A tabulated kernel is zero beyond v = 1. `table` holds density, survival and excess, for each of `panels` equal cells
 * of [0, 1] eleven coefficients, ascending powers of t = 2*(v*panels - cell) - 1; behind them, twelve a cell, lies the second
 * tail integral, which a plan with bends needs. For float32 arithmetic this function
 * condenses it to BEVEL_TABLE_SINGLE floats that fit into vector registers. Returns 1 if that reaches float accuracy;
 * 0 if the density is too rough for it: then pass NULL as table_single, and the large table is used. */
#define BEVEL_TABLE_SINGLE (32 * 9)
BEVEL_API int32_t bevel_table_floats(void); /* BEVEL_TABLE_SINGLE of the library */
BEVEL_API int bevel_table_single(const double *table, int32_t panels, float *out);

#ifdef __cplusplus
}
#endif
#endif
