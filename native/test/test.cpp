// Compares the library with the definition: kernels, kinds, dtypes, layouts, sizes, threads. One run tests one instruction
// set, the one BEVEL_ISA names; exits with 1 and says what differs.     bevel_native_test [run one case in so many]
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "guarded.h"
#include "reference.h"

namespace {

int failures = 0;
int64_t thin = 1;  // only every so-manieth case: under an emulator long double takes its time
int64_t turn = 0;
bool skipped() { return turn++ % thin != 0; }
std::mt19937_64 random_bits(20211);
double uniform(double low, double high) { return low + (high - low) * (random_bits() >> 11) * 0x1p-53; }
int64_t pick(int64_t low, int64_t high) { return low + static_cast<int64_t>(random_bits() % (high - low + 1)); }

void fail(const std::string& what) {
    if (++failures <= 20) std::printf("FAIL %s\n", what.c_str());
}
std::string digits(long double x) {  // all that a float64 has: two that differ by a rounding look different
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", static_cast<double>(x));
    return text;
}
void expect(bool ok, const std::string& what) {
    if (!ok) fail(what);
}

// ---- elements of any dtype ----------------------------------------------------------------------------------------

int width(int dtype) { return dtype == BEVEL_F64 ? 8 : dtype == BEVEL_F32 ? 4 : 2; }

double half_value(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -magnitude : magnitude;
}
double read(int dtype, const char* p) {
    if (dtype == BEVEL_F64) { double a; std::memcpy(&a, p, 8); return a; }
    if (dtype == BEVEL_F32) { float a; std::memcpy(&a, p, 4); return a; }
    uint16_t h;
    std::memcpy(&h, p, 2);
    if (dtype == BEVEL_F16) return half_value(h);
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float a;
    std::memcpy(&a, &bits, 4);
    return a;
}
// Some number near `a` that the dtype can hold; nearest for float and double.
void write(int dtype, char* p, double a) {
    if (dtype == BEVEL_F64) { std::memcpy(p, &a, 8); return; }
    float f = static_cast<float>(a);
    if (dtype == BEVEL_F32) { std::memcpy(p, &f, 4); return; }
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    uint16_t h = static_cast<uint16_t>(bits >> 16);
    if (dtype == BEVEL_F16) {
        const uint32_t magnitude = bits & 0x7fffffffu;
        h = magnitude >= 0x47800000u ? 0x7c00 : magnitude < 0x38800000u ? 0 : static_cast<uint16_t>((magnitude - 0x38000000u) >> 13);
        if (magnitude > 0x7f800000u) h = 0x7e00;
        h = static_cast<uint16_t>(h | (bits >> 16 & 0x8000u));
    }
    std::memcpy(p, &h, 2);
}
double epsilon(int dtype) {
    return dtype == BEVEL_F64 ? 0x1p-53 : dtype == BEVEL_F32 ? 0x1p-24 : dtype == BEVEL_BF16 ? 0x1p-9 : 0x1p-11;
}

// ---- tensors ------------------------------------------------------------------------------------------------------

// Exactly as many bytes as its strides reach over, so that every step beyond is seen; `shift` unaligns it.
struct Array {
    int dtype;
    int64_t size[3], stride[3], shift;
    Bytes bytes;

    Array(int dtype_, const int64_t (&size_)[3], const int64_t (&stride_)[3], int64_t shift_)
        : dtype(dtype_), shift(shift_), bytes(static_cast<size_t>(reach(size_, stride_, shift_) * width(dtype_)), 0) {
        std::copy_n(size_, 3, size), std::copy_n(stride_, 3, stride);
    }
    static int64_t reach(const int64_t (&size)[3], const int64_t (&stride)[3], int64_t shift) {
        int64_t last = 0;
        for (int d = 0; d < 3; ++d) last += (size[d] - 1) * stride[d];
        return size[0] * size[1] * size[2] == 0 ? 1 : last + 1 + shift;
    }
    char* data() { return bytes.data() + shift * width(dtype); }
    char* at(int64_t o, int64_t c, int64_t i) {
        return data() + (o * stride[0] + c * stride[1] + i * stride[2]) * width(dtype);
    }
};

// ---- plans --------------------------------------------------------------------------------------------------------

// A biweight kernel as a table: its polynomials, moved to each panel.
struct Table {
    static constexpr int panels = 16;
    std::vector<double> rows = std::vector<double>(3 * panels * 11 + panels * 12);
    std::vector<float> single = std::vector<float>(BEVEL_TABLE_SINGLE);

    Table() {
        const std::vector<std::vector<double>> form = {
            {15 / 16., 0, -30 / 16., 0, 15 / 16.},
            {0.5, -15 / 16., 0, 10 / 16., 0, -3 / 16.},
            {5 / 32., -0.5, 15 / 32., 0, -5 / 32., 0, 1 / 32.},
            {1 / 28., -5 / 32., 1 / 4., -5 / 32., 0, 1 / 32., 0, -1 / 224.}};
        for (int f = 0; f < 4; ++f)
            for (int p = 0; p < panels; ++p) {
                const int columns = f == 3 ? 12 : 11;
                double* const row = rows.data() + 11 * f * panels + columns * p;
                for (int k = static_cast<int>(form[f].size()) - 1; k >= 0; --k) {  // Horner in v = (p + (t + 1)/2)/panels
                    for (int j = columns - 1; j >= 0; --j)
                        row[j] = (row[j] * (p + 0.5) + (j > 0 ? row[j - 1] * 0.5 : 0)) / panels;
                    row[0] += form[f][k];
                }
            }
        expect(bevel_table_single(rows.data(), panels, single.data()) == 1, "a smooth table fits single precision");
    }
};

struct Plan {
    bevel_plan plan{};
    std::vector<double> constant;
    std::vector<bevel_term> terms;
    std::vector<bevel_product> products;
    std::vector<int32_t> dtype;
    std::vector<int64_t> length;
    std::vector<std::vector<double>> value;  // of each parameter
    std::vector<Bytes> storage, gradient;
    std::vector<const void*> pointer;
    std::vector<void*> gradient_pointer;

    void parameter(int64_t size, double low, double high) {
        const int type = pick(0, 1) ? BEVEL_F32 : BEVEL_F64;
        dtype.push_back(type), length.push_back(size);
        value.emplace_back(), storage.emplace_back(size * width(type), 0), gradient.emplace_back(size * width(type), char(85));
        for (int64_t i = 0; i < size; ++i) {
            write(type, storage.back().data() + i * width(type), uniform(low, high));
            value.back().push_back(read(type, storage.back().data() + i * width(type)));
        }
    }
    void finish(const Table& table) {
        plan.abi = BEVEL_ABI;
        plan.params = static_cast<int32_t>(value.size()), plan.terms = static_cast<int32_t>(terms.size());
        plan.products = static_cast<int32_t>(products.size());
        plan.constant = constant.data(), plan.term = terms.data(), plan.product = products.data();
        plan.param_dtype = dtype.data(), plan.param_length = length.data();
        if (plan.kernel == BEVEL_TABULATED) plan.table = table.rows.data(), plan.panels = Table::panels;
        if (plan.kernel == BEVEL_TABULATED && pick(0, 3)) plan.table_single = table.single.data();
        for (auto& s : storage) pointer.push_back(s.data());
        for (auto& g : gradient) gradient_pointer.push_back(g.data());
    }
    double at(const std::vector<std::vector<double>>& all, int p, int64_t channel) const { return all[p][length[p] == 1 ? 0 : channel]; }
    // What a product does to first order, where its parameters have these values.
    std::vector<bevel_term> changes(const std::vector<std::vector<double>>& all, int64_t channel) const {
        std::vector<bevel_term> out;
        for (const bevel_product& t : products) {
            out.push_back({t.slot, t.first, t.factor * at(all, t.second, channel)});
            out.push_back({t.slot, t.second, t.factor * at(all, t.first, channel)});
        }
        return out;
    }
    std::vector<bevel_term> linear(int64_t channel) const {
        std::vector<bevel_term> out = changes(value, channel);
        out.insert(out.end(), terms.begin(), terms.end());
        return out;
    }
    template <class Real> std::vector<Real> slots(int64_t channel) const {  // in double, as the interface says
        std::vector<double> s = constant;
        for (const bevel_term& t : terms) s[t.slot] += t.factor * at(value, t.param, channel);
        for (const bevel_product& t : products) s[t.slot] += t.factor * at(value, t.first, channel) * at(value, t.second, channel);
        if (plan.log_n) s[2 + 5 * plan.knots] = std::exp(s[2 + 5 * plan.knots]);
        return std::vector<Real>(s.begin(), s.end());
    }
};

enum Kind { RAMP, GATE, STEP, TAILS, TILT, GATE_TILT, EVERYTHING, KINDS, BENDS = KINDS, BENDS_AND_ALL, BENT_KINDS };

// A random function of one kind: each coefficient it has is a constant, or a parameter (shared or per channel), or a mix.
Plan random_plan(int kernel, int kind, int knots, int64_t channels, bool per_channel, bool learn, const Table& table,
                 double sharpest = 20000, bool products = false) {
    Plan p;
    p.plan.kernel = kernel, p.plan.knots = knots;
    p.plan.multiplies_cdf = kind == GATE || kind == GATE_TILT;
    p.plan.bends = (kind == BENDS || kind == BENDS_AND_ALL) && kernel != BEVEL_CAUCHY && kernel != BEVEL_STUDENT;
    p.constant.assign(p.plan.bends ? 4 + 6 * knots : 3 + 5 * knots, 0);
    const bool cauchy = kernel == BEVEL_CAUCHY, all = kind == EVERYTHING || kind == BENDS_AND_ALL;
    const bool uses[5] = {pick(0, 2) > 0, !cauchy && kind != STEP, kind == STEP || all || cauchy,
                          !cauchy && (kind == TAILS || all), !cauchy && (kind == TILT || kind == GATE_TILT || all)};
    const auto coefficient = [&](int slot, double low, double high) {
        if (!learn || pick(0, 1)) p.constant[slot] = uniform(low, high) / (1 + (learn && pick(0, 1)));
        if (!learn || pick(0, 1)) return;
        if (p.value.empty() || pick(0, 2)) p.parameter(per_channel && pick(0, 2) ? channels : 1, low / 2, high / 2);
        const auto any = [&p] { return static_cast<int32_t>(pick(0, static_cast<int64_t>(p.value.size()) - 1)); };
        if (products && pick(0, 1)) return p.products.push_back({slot, any(), any(), 0, pick(0, 1) ? 2.0 : -1.0});
        p.terms.push_back({slot, any(), pick(0, 1) ? 1.0 : -0.5});
    };
    coefficient(0, -1, 1);
    if (pick(0, 1)) coefficient(1, -1, 1);
    for (int g = 0; g < 5; ++g)
        for (int i = 0; uses[g] && i < knots; ++i) coefficient(2 + g * knots + i, -1.5, 1.5);
    const int n = 2 + 5 * knots;
    for (int i = 0; p.plan.bends && i <= knots; ++i) coefficient(n + 1 + i, -1.5, 1.5);
    const double sharpness[] = {1, 2, 0.7, 3.3, 40, 20000};
    p.constant[n] = std::fmin(sharpness[pick(0, 5)], sharpest);
    p.plan.log_n = static_cast<int32_t>(pick(0, 1));
    if (p.plan.log_n) p.constant[n] = std::log(p.constant[n]);
    if (learn && pick(0, 1)) {
        p.parameter(per_channel ? channels : 1, 0.01, 0.3);
        p.terms.push_back({n, static_cast<int32_t>(p.value.size() - 1), 1});
    }
    p.finish(table);
    return p;
}

// ---- one comparison -----------------------------------------------------------------------------------------------

struct Case {
    int dtype = BEVEL_F32;
    int64_t size[3] = {1, 1, 1}, shift = 0;
    int layout = 0;  // 0 contiguous, 1 channels last, 2 padded, 3 every second element
    int threads = 1;
};

void strides(int layout, const int64_t (&size)[3], int64_t (&stride)[3]) {
    const int64_t o = size[0], c = size[1], i = size[2];
    (void)o;
    const int64_t table[4][3] = {{c * i, i, 1}, {c * i, 1, c}, {c * (i + 3) + 5, i + 3, 1}, {2 * c * i, 2 * i, 2}};
    for (int d = 0; d < 3; ++d) stride[d] = table[layout][d];
}

template <class Real> void compare_with(Plan& p, const Case& c, const std::string& name) {
    bevel_layout layout{};
    layout.dtype = c.dtype;
    layout.outer = c.size[0], layout.channels = c.size[1], layout.inner = c.size[2];
    int64_t stride[3];
    strides(c.layout, c.size, stride);
    for (int d = 0; d < 3; ++d) layout.x[d] = layout.y[d] = layout.g[d] = layout.dx[d] = stride[d];
    Array x(c.dtype, c.size, stride, c.shift), y = x, g = x, dx = x;
    const int n_slot = 2 + 5 * p.plan.knots;
    std::vector<std::vector<Real>> every;
    for (int64_t k = 0; k < std::max<int64_t>(c.size[1], 1); ++k) every.push_back(p.slots<Real>(k));
    const double n = static_cast<double>(every[0][n_slot]);
    for (int64_t o = 0; o < c.size[0]; ++o)
        for (int64_t k = 0; k < c.size[1]; ++k)
            for (int64_t i = 0; i < c.size[2]; ++i) {
                const double near = p.plan.knots ? static_cast<double>(every[k][2 + pick(0, p.plan.knots - 1)]) : 0;
                write(c.dtype, x.at(o, k, i), pick(0, 2) ? uniform(-4, 4) : near + uniform(-1.5, 1.5) / n);
                write(c.dtype, g.at(o, k, i), uniform(-1, 1));
            }
    const int code = bevel_forward(&p.plan, &layout, c.threads, p.pointer.data(), x.data(), y.data());
    const int back = bevel_backward(&p.plan, &layout, c.threads, p.pointer.data(), x.data(), g.data(), dx.data(),
                                    p.gradient_pointer.data());
    if (code != BEVEL_OK || back != BEVEL_OK) return fail(name + ": " + bevel_message(code | back));

    const double working = c.dtype == BEVEL_F64 ? 0x1p-53 : 0x1p-24, stored = epsilon(c.dtype);
    const bool steep = c.dtype == BEVEL_F64 && p.plan.kernel == BEVEL_BUMP;  // polynomials of degree 39 and 43
    const double ulps = steep ? 24 : 12;
    const double tiny = c.dtype == BEVEL_F16 ? 0x1p-24 : c.dtype == BEVEL_F64 && !steep ? 1e-290 : 1e-30;  // below: no promise
    std::vector<std::vector<Real>> exact, size;
    for (size_t j = 0; j < p.value.size(); ++j) exact.emplace_back(p.length[j], 0), size.emplace_back(p.length[j], 0);
    for (int64_t k = 0; k < c.size[1]; ++k) {
        const std::vector<Real>& slots = every[k];
        const std::vector<bevel_term> linear = p.linear(k);
        for (int64_t o = 0; o < c.size[0]; ++o)
            for (int64_t i = 0; i < c.size[2]; ++i) {
                const Real at = read(c.dtype, x.at(o, k, i)), by = read(c.dtype, g.at(o, k, i));
                const reference::Point<Real> f = reference::at(p.plan.kernel, p.plan.multiplies_cdf, p.plan.knots, slots, at);
                const Real value = read(c.dtype, y.at(o, k, i)), slope = read(c.dtype, dx.at(o, k, i));
                if (!(std::fabs(value - f.value) <= ulps * working * f.size + 2 * stored * std::fabs(f.value) + tiny))
                    fail(name + ": value at x = " + digits(at) + " is " + digits(value) +
                         " instead of " + digits(f.value));
                const Real exact_dx = by * f.slope;
                if (!(std::fabs(slope - exact_dx) <=
                      16 * working * std::fabs(by) * f.slope_size + 2 * stored * std::fabs(exact_dx) + tiny))
                    fail(name + ": dx at x = " + digits(at) + " is " + digits(slope) +
                         " instead of " + digits(exact_dx));
                for (const bevel_term& t : linear) {
                    const Real scale = t.factor * by * (t.slot == n_slot && p.plan.log_n ? slots[n_slot] : 1);
                    const int64_t to = p.length[t.param] == 1 ? 0 : k;
                    exact[t.param][to] += scale * f.by_slot[t.slot];
                    size[t.param][to] += std::fabs(scale) * f.by_slot_size[t.slot];
                }
            }
    }
    for (size_t j = 0; j < p.value.size(); ++j)
        for (int64_t k = 0; k < p.length[j]; ++k) {
            const Real got = read(p.dtype[j], p.gradient[j].data() + k * width(p.dtype[j]));
            const double rounding = p.dtype[j] == BEVEL_F64 ? 0x1p-53 : 0x1p-24;
            if (!(std::fabs(got - exact[j][k]) <= 24 * working * size[j][k] + 2 * rounding * std::fabs(exact[j][k]) + 1e-30))
                fail(name + ": gradient of parameter " + std::to_string(j) + "[" + std::to_string(k) + "] is " +
                     digits(got) + " instead of " + digits(exact[j][k]));
        }
    auto again = p.gradient;
    Array over = x;
    bevel_backward(&p.plan, &layout, c.threads, p.pointer.data(), over.data(), g.data(), over.data(), p.gradient_pointer.data());
    expect(again == p.gradient, name + ": the gradients with dx in place of x differ");
    expect(over.bytes == dx.bytes || c.layout >= 2, name + ": dx in place of x differs");
    bevel_backward(&p.plan, &layout, c.threads, p.pointer.data(), x.data(), g.data(), g.data(), p.gradient_pointer.data());
    expect(again == p.gradient, name + ": the gradients of two runs differ");
    expect(g.bytes == dx.bytes || c.layout >= 2, name + ": dx in place of g differs");
    bevel_forward(&p.plan, &layout, c.threads, p.pointer.data(), x.data(), x.data());
    expect(x.bytes == y.bytes || c.layout >= 2, name + ": y in place of x differs");
}
void compare(Plan& p, const Case& c, const std::string& name) {
    c.dtype == BEVEL_F64 ? compare_with<long double>(p, c, name) : compare_with<double>(p, c, name);
}

// ---- the tests ----------------------------------------------------------------------------------------------------

std::string describe(int kernel, int kind, int knots, const Case& c) {
    char text[160];
    std::snprintf(text, sizeof text, "kernel %d kind %d knots %d dtype %d layout %d size %lldx%lldx%lld threads %d", kernel,
                  kind, knots, c.dtype, c.layout, (long long)c.size[0], (long long)c.size[1], (long long)c.size[2], c.threads);
    return text;
}

void test_everything(const Table& table) {
    for (int kernel = BEVEL_SHARP; kernel <= BEVEL_TABULATED; ++kernel)
        for (int kind = 0; kind < KINDS; ++kind)
            for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype)
                for (int layout = 0; layout < 4; ++layout) {
                    if (skipped()) continue;
                    Case c;
                    c.dtype = dtype, c.layout = layout, c.shift = pick(0, 3);
                    c.size[0] = pick(1, 9), c.size[1] = pick(1, 40), c.size[2] = pick(0, 2) ? pick(1, 9) : 1;
                    const int knots = pick(0, 2) ? 1 : static_cast<int>(pick(0, BEVEL_MAX_KNOTS));
                    Plan p = random_plan(kernel, kind, knots, c.size[1], pick(0, 1), pick(0, 3), table);
                    compare(p, c, describe(kernel, kind, knots, c));
                }
}

void test_gelu_tanh(const Table& table) {
    for (int kind = 0; kind < KINDS; ++kind)
        for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype) {
            if (skipped()) continue;
            Case c;
            c.dtype = dtype, c.layout = kind % 2;
            c.size[0] = pick(1, 3), c.size[1] = pick(1, 20), c.size[2] = pick(0, 2) ? pick(1, 5) : 1;
            const int knots = pick(0, 1) ? 1 : static_cast<int>(pick(0, 3));
            Plan p = random_plan(BEVEL_GELU_TANH, kind, knots, c.size[1], pick(0, 1), pick(0, 3), table);
            compare(p, c, describe(BEVEL_GELU_TANH, kind, knots, c));
        }
}

void test_bends(const Table& table) {
    for (int kernel = BEVEL_SHARP; kernel <= BEVEL_GELU_TANH; ++kernel)
        for (int kind = BENDS; kind < BENT_KINDS; ++kind)
            for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype)
                for (int layout = 0; layout < 4; ++layout) {
                    if (kernel == BEVEL_STUDENT || kernel == BEVEL_CAUCHY || skipped()) continue;
                    Case c;
                    c.dtype = dtype, c.layout = layout, c.shift = pick(0, 3), c.threads = 1 + layout % 2;
                    c.size[0] = pick(1, 5), c.size[1] = pick(1, 40), c.size[2] = pick(0, 2) ? pick(1, 5) : 1;
                    const int knots = pick(0, 1) ? 1 : static_cast<int>(pick(0, BEVEL_MAX_KNOTS));
                    Plan p = random_plan(kernel, kind, knots, c.size[1], pick(0, 1), pick(0, 3), table);
                    compare(p, c, describe(kernel, kind, knots, c));
                }
}

void test_sizes(const Table& table) {
    for (int64_t size = 0; size <= 130; ++size)
        for (int layout = 0; layout < 2; ++layout) {
            if (skipped()) continue;
            Case c;
            c.dtype = static_cast<int>(size % 4), c.layout = layout, c.shift = size % 5;
            c.size[layout == 0 ? 2 : 1] = size;
            c.size[0] = pick(1, 3);
            const int kernel = static_cast<int>(pick(BEVEL_SHARP, BEVEL_COSINE));
            Plan p = random_plan(kernel, size % KINDS, 1, c.size[1], layout == 1 && size > 0, true, table);
            compare(p, c, describe(kernel, size % KINDS, 1, c));
        }
}

void test_large(const Table& table) {
    const int64_t sizes[][3] = {{2, 3, 7001}, {1, 1, 40000}, {5000, 9, 1}, {700, 64, 1}, {37, 1030, 1}, {300, 3, 49}};
    for (const auto& size : sizes)
        for (int threads = 1; threads <= 2; ++threads)
            for (int layout = 0; layout < 2; ++layout) {
                if (skipped()) continue;
                Case c;
                c.layout = layout, c.threads = threads, c.dtype = static_cast<int>(pick(0, 3));
                for (int d = 0; d < 3; ++d) c.size[d] = size[d];
                Plan p = random_plan(BEVEL_GAUSSIAN, TAILS, 1, size[1], true, true, table);
                compare(p, c, describe(BEVEL_GAUSSIAN, TAILS, 1, c));
            }
}

void test_special(const Table& table) {
    const double infinity = std::numeric_limits<double>::infinity();
    for (int kernel = BEVEL_SHARP; kernel <= BEVEL_TABULATED; ++kernel)
        for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype)
            for (int knots = 1; knots <= 2; ++knots) {  // relu, then hardtanh: flat on one end, on both
                if (kernel == BEVEL_CAUCHY) continue;
                Plan p;
                p.plan.kernel = kernel, p.plan.knots = knots;
                p.constant.assign(3 + 5 * knots, 0);
                p.constant[2 + knots] = 1, p.constant.back() = 3;
                if (knots == 2) p.constant[1] = p.constant[2] = p.constant[5] = -1, p.constant[3] = 1;
                p.finish(table);
                const int64_t size[3] = {1, 1, 5}, stride[3] = {5, 5, 1};
                Array x(dtype, size, stride, 0), y = x, g = x, dx = x;
                const double in[5] = {NAN, infinity, -infinity, 1e30, -1e30};
                for (int i = 0; i < 5; ++i) write(dtype, x.at(0, 0, i), in[i]), write(dtype, g.at(0, 0, i), 1);
                bevel_layout layout{dtype, 0, 1, 1, 5, {5, 5, 1}, {5, 5, 1}, {5, 5, 1}, {5, 5, 1}};
                bevel_forward(&p.plan, &layout, 1, nullptr, x.data(), y.data());
                bevel_backward(&p.plan, &layout, 1, nullptr, x.data(), g.data(), dx.data(), nullptr);
                const auto at = [&](Array& a, int i) { return read(dtype, a.at(0, 0, i)); };
                const std::string name = "special values, kernel " + std::to_string(kernel) + " dtype " + std::to_string(dtype);
                expect(std::isnan(at(y, 0)) && std::isnan(at(dx, 0)), name + ": NaN is kept");
                expect(at(y, 1) == (knots == 1 ? infinity : 1), name + ": limit at inf");
                expect(at(y, 2) == (knots == 1 ? 0 : -1), name + ": limit at -inf");
                expect(at(dx, 1) == (knots == 1 ? 1 : 0) && at(dx, 2) == 0, name + ": slopes at the ends");
                expect(std::fabs(at(y, 4) - at(y, 2)) < 1e-20, name + ": far left");
            }
}

// fp32 keeps its relative accuracy in the tails, where the textbook's u·cdf + tail has lost every digit.
void test_tails() {
    using Real = double;
    for (const int kernel : {BEVEL_GAUSSIAN, BEVEL_LOGISTIC, BEVEL_LAPLACE, BEVEL_STUDENT, BEVEL_TRIWEIGHT, BEVEL_COSINE,
                             BEVEL_BUMP, BEVEL_GELU_TANH})
        for (const double n : {1.0, 3.3, 20000.0})
            for (const double knot : {0.0, 0.3}) {
                const double constant[8] = {0, 0, knot, 1, 0, 0, 0, n};
                bevel_plan plan{};
                plan.abi = BEVEL_ABI, plan.kernel = kernel, plan.knots = 1, plan.constant = constant;
                constexpr int count = 400;
                const bevel_layout layout{BEVEL_F32, 0, 1, 1, count, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}};
                const double span = kernel == BEVEL_GELU_TANH ? 9 : kernel == BEVEL_GAUSSIAN ? 11.3 : kernel <= BEVEL_LAPLACE ? 68 : kernel == BEVEL_STUDENT ? 1e6 : 1;
                std::vector<float> x(count), y(count);
                for (int i = 0; i < count; ++i) x[i] = static_cast<float>(knot - span * (i + 0.5) / count / n);
                bevel_forward(&plan, &layout, 1, nullptr, x.data(), y.data());
                for (int i = 0; i < count; ++i) {
                    const Real v = (Real(knot) - Real(x[i])) * n, e = reference::forms(kernel, v).excess / n;
                    if (v >= 0 && e > 1e-30 && std::fabs(y[i] - e) > 2e-6 * e)
                        fail("tail of kernel " + std::to_string(kernel) + " at v = " + digits(v) + ", off by " +
                             digits(y[i] / e - 1));
                }
            }
}

// The same of a smoothed bend, whose closed form is a difference of order v that leaves 2/v³.
void test_tails_of_bends() {
    using Real = double;
    for (const int kernel : {BEVEL_GAUSSIAN, BEVEL_LOGISTIC, BEVEL_LAPLACE, BEVEL_BOX, BEVEL_TRIWEIGHT, BEVEL_COSINE, BEVEL_BUMP,
                             BEVEL_GELU_TANH})
        for (const double n : {1.0, 3.3, 20000.0})
            for (const double knot : {0.0, 0.3}) {
                const double constant[10] = {0, 0, knot, 0, 0, 0, 0, n, 0, 1};
                bevel_plan plan{};
                plan.abi = BEVEL_ABI, plan.kernel = kernel, plan.knots = plan.bends = 1, plan.constant = constant;
                constexpr int count = 100;
                const bevel_layout layout{BEVEL_F32, 0, 1, 1, count, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}};
                const double span = kernel == BEVEL_GELU_TANH ? 8.5 : kernel == BEVEL_GAUSSIAN ? 10.5 : kernel <= BEVEL_LAPLACE ? 50 : 1;
                std::vector<float> x(count), y(count);
                for (int i = 0; i < count; ++i) x[i] = static_cast<float>(knot - span * (i + 0.5) / count / n);
                bevel_forward(&plan, &layout, 1, nullptr, x.data(), y.data());
                for (int i = 0; i < count; ++i) {
                    const Real v = (Real(knot) - Real(x[i])) * n, e = reference::forms(kernel, v, true).second / (Real(n) * n);
                    if (v >= 0 && e > 1e-30 && std::fabs(y[i] - e) > 3e-6 * e)
                        fail("bend's tail of kernel " + std::to_string(kernel) + " at v = " + digits(v) + ", off by " +
                             digits(y[i] / e - 1));
                }
            }
}

// Hardswish, smoothed and sharp: the bends cancel, so that it is x far out, and 0 on the left.
void test_far_out() {
    const double third = 1 / 3.;
    for (const int kernel : {BEVEL_SHARP, BEVEL_GAUSSIAN, BEVEL_BOX, BEVEL_BUMP})
        for (int dtype = BEVEL_F32; dtype <= BEVEL_F64; ++dtype) {
            const double constant[16] = {0, 0, -3, 3, -0.5, -0.5, 0, 0, 0, 0, 0, 0, 2, 0, third, -third};
            bevel_plan plan{};
            plan.abi = BEVEL_ABI, plan.kernel = kernel, plan.knots = 2, plan.bends = 1, plan.constant = constant;
            const int64_t size[3] = {1, 1, 5}, stride[3] = {5, 5, 1};
            const double infinity = std::numeric_limits<double>::infinity(), in[5] = {1e30, -1e30, infinity, -infinity, NAN};
            Array x(dtype, size, stride, 0), y = x, g = x, dx = x;
            for (int i = 0; i < 5; ++i) write(dtype, x.at(0, 0, i), in[i]), write(dtype, g.at(0, 0, i), 1);
            const bevel_layout layout{dtype, 0, 1, 1, 5, {5, 5, 1}, {5, 5, 1}, {5, 5, 1}, {5, 5, 1}};
            bevel_forward(&plan, &layout, 1, nullptr, x.data(), y.data());
            bevel_backward(&plan, &layout, 1, nullptr, x.data(), g.data(), dx.data(), nullptr);
            const auto at = [&](Array& a, int i) { return read(dtype, a.at(0, 0, i)); };
            const std::string name = "hardswish far out, kernel " + std::to_string(kernel);
            expect(std::fabs(at(y, 0) / at(x, 0) - 1) < 3e-7 && at(y, 1) == 0, name + ": its value");
            expect(at(y, 2) == infinity && at(y, 3) == 0 && std::isnan(at(y, 4)), name + ": its limits");
            expect(std::fabs(at(dx, 0) - 1) < 3e-7 && at(dx, 1) == 0 && at(dx, 3) == 0 && std::isnan(at(dx, 4)), name + ": its slope");
        }
}

// A monotone function of one knot: two slopes of one sign, and for the Gaussian SAU's other forms.
Plan monotone_plan(int kernel, int kind, int64_t channels, double n, const Table& table) {
    Plan p;
    p.plan.kernel = kernel, p.plan.knots = 1, p.plan.multiplies_cdf = kind == 2;
    p.constant.assign(8, 0);
    const double sign = pick(0, 1) ? 1 : -1, flat = std::pow(10.0, uniform(-2.8, -0.5)), scale = std::pow(2.0, uniform(-3, 3));
    if (kind == 0) {  // left = q0, jump = q1 - q0
        const bool steep_left = pick(0, 3) == 0;
        for (int i = 0; i < 2; ++i) {
            const double slope = sign * scale * ((i == 0) == steep_left ? 1 : flat);
            p.parameter(channels, slope * 1.001, slope * 1.5);
        }
        p.terms = {{0, 0, 1}, {3, 0, -1}, {3, 1, 1}};
    } else {  // SAU, published or centred: left = a, jump = 1 - a, c0 = a, c1 = 0 or 1
        p.parameter(channels, kind == 1 ? flat : 0.15, 0.9);
        p.constant[3] = 1, p.constant[6] = kind == 2;
        p.terms = {{0, 0, 1}, {3, 0, -1}};
        if (kind == 1) p.terms.push_back({5, 0, 1});
    }
    p.constant[7] = n;
    p.finish(table);
    return p;
}

// What is found from y has the value y, and the gradients from y are those of it.
template <class Real> void compare_inverse_with(Plan& p, const Case& c, const std::string& name) {
    bevel_layout layout{};
    layout.dtype = c.dtype;
    layout.outer = c.size[0], layout.channels = c.size[1], layout.inner = c.size[2];
    int64_t stride[3];
    strides(c.layout, c.size, stride);
    for (int d = 0; d < 3; ++d) layout.x[d] = layout.y[d] = layout.g[d] = layout.dx[d] = stride[d];
    expect(bevel_output_tells(&p.plan, &layout, p.pointer.data()) == 1, name + ": y tells x");
    Array x(c.dtype, c.size, stride, c.shift), y = x, g = x, dx = x;
    const double n = p.constant[7];
    const auto each = [&c](auto use) {
        for (int64_t k = 0; k < c.size[1]; ++k)
            for (int64_t o = 0; o < c.size[0]; ++o)
                for (int64_t i = 0; i < c.size[2]; ++i) use(o, k, i);
    };
    each([&](int64_t o, int64_t k, int64_t i) {
        const double wide = pick(0, 1) ? 1.5 : 12;
        write(c.dtype, x.at(o, k, i), pick(0, 2) ? uniform(-wide, wide) / n : uniform(-4, 4));
        write(c.dtype, g.at(o, k, i), uniform(-1, 1));
    });
    const void* const* const param = p.pointer.data();
    bevel_forward(&p.plan, &layout, c.threads, param, x.data(), y.data());
    bevel_backward_from_output(&p.plan, &layout, c.threads, param, y.data(), g.data(), dx.data(), p.gradient_pointer.data());
    const auto got = p.gradient;

    bevel_layout wide = layout;  // half precision's x is not a half
    if (c.dtype != BEVEL_F64) wide.dtype = BEVEL_F32;
    Array found(wide.dtype, c.size, stride, 0), by = found, want = found;
    each([&](int64_t o, int64_t k, int64_t i) {
        write(wide.dtype, found.at(o, k, i), read(c.dtype, y.at(o, k, i)));
        write(wide.dtype, by.at(o, k, i), read(c.dtype, g.at(o, k, i)));
    });
    const Array exact = found;
    bevel_inverse(&p.plan, &wide, c.threads, param, found.data(), found.data());
    bevel_backward(&p.plan, &wide, c.threads, param, found.data(), by.data(), want.data(), p.gradient_pointer.data());
    const double working = c.dtype == BEVEL_F64 ? 0x1p-53 : 0x1p-24;
    const double ulps = c.dtype == BEVEL_F64 && p.plan.kernel == BEVEL_BUMP ? 28 : 16;  // compare()'s, and those of u / n and of the last step
    each([&](int64_t o, int64_t k, int64_t i) {
        const std::vector<Real> slots = p.slots<Real>(k);
        const Real at = read(wide.dtype, found.at(o, k, i)), value = read(c.dtype, y.at(o, k, i));
        const reference::Point<Real> f = reference::at(p.plan.kernel, p.plan.multiplies_cdf, 1, slots, at);
        if (!(std::fabs(f.value - value) <= ulps * working * (f.size + std::fabs(f.slope * at))))
            fail(name + ": n = " + std::to_string(n) + ", y = " + digits(value) + " has x = " + digits(at) +
                 ", whose value is off by " + std::to_string(double((f.value - value) / (working * f.size))) + " roundings");
        const double d = read(c.dtype, dx.at(o, k, i)), w = read(wide.dtype, want.at(o, k, i));
        const double steep = static_cast<double>(std::fmax(std::fabs(slots[0]), std::fabs(slots[0] + slots[3])));
        const double size = steep * std::fabs(read(c.dtype, g.at(o, k, i)));
        if (!(std::fabs(d - w) <= 2 * epsilon(c.dtype) * std::fabs(w) + 8 * working * size + (c.dtype == BEVEL_F16 ? 0x1p-24 : 0)))
            fail(name + ": dx at x = " + digits(at) + " is " + std::to_string(d) + " from y, and " + std::to_string(w));
    });
    for (size_t j = 0; j < got.size(); ++j)
        for (int64_t k = 0; k < p.length[j]; ++k) {
            const double a = read(p.dtype[j], got[j].data() + k * width(p.dtype[j])), b = read(p.dtype[j], p.gradient[j].data() + k * width(p.dtype[j]));
            expect(std::fabs(a - b) <= 1e-5 * (1 + std::fabs(b)), name + ": a slope's gradient from y is that of x");
        }
}
void compare_inverse(Plan& p, const Case& c, const std::string& name) {
    c.dtype == BEVEL_F64 ? compare_inverse_with<long double>(p, c, name) : compare_inverse_with<double>(p, c, name);
}

void test_inverse(const Table& table) {
    const double sharpness[] = {1, 5, 0.07, 20000};
    for (int kernel = BEVEL_GAUSSIAN; kernel <= BEVEL_TABULATED; ++kernel)
        for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype)
            for (int layout = 0; layout < 4; ++layout)
                for (int kind = 0; kind < (kernel == BEVEL_GAUSSIAN ? 3 : 1); ++kind) {
                    if (kernel == BEVEL_CAUCHY || skipped()) continue;
                    Case c;
                    c.dtype = dtype, c.layout = layout, c.shift = pick(0, 3);
                    c.size[0] = pick(1, 3), c.size[1] = pick(1, 40), c.size[2] = layout == 1 ? 1 : pick(0, 9) ? pick(1, 40) : pick(1000, 1500);
                    const double n = kind == 2 ? 20000 : sharpness[pick(0, 3)];
                    Plan p = monotone_plan(kernel, kind, pick(0, 1) ? c.size[1] : 1, n, table);
                    compare_inverse(p, c, "inverse, " + describe(kernel, kind, 1, c));
                }
}

// F = a·f' + Σ cotangent·∂f/∂parameter and its derivatives, which the definition's differences tell to some digits.
template <class Real> struct Second {
    reference::Point<Real> first;  // f itself
    Real value = 0, slope = 0, size = 0;
    std::vector<Real> by;  // by those slots that `moved` names: a difference for each takes most of this test's time

    Second(const Plan& p, const std::vector<Real>& slot, const std::vector<bevel_term>& moved, const std::vector<Real>& turn, Real x, Real a)
        : by(slot.size()) {
        const auto point = [&](const std::vector<Real>& s, Real where) {
            return reference::at(p.plan.kernel, p.plan.multiplies_cdf, p.plan.knots, s, where);
        };
        const auto total = [&](const reference::Point<Real>& f) {
            Real sum = a * f.slope;
            for (size_t i = 0; i < slot.size(); ++i) sum += turn[i] * f.by_slot[i];
            return sum;
        };
        first = point(slot, x);
        value = total(first), size = std::fabs(a) * first.slope_size;
        for (size_t i = 0; i < slot.size(); ++i) size += std::fabs(turn[i]) * first.by_slot_size[i];
        const Real h = Real(1e-6L) / slot[2 + 5 * p.plan.knots];
        slope = (total(point(slot, x + h)) - total(point(slot, x - h))) / (2 * h);
        std::vector<bool> done(slot.size());
        for (const bevel_term& t : moved) {
            if (done[t.slot]) continue;
            std::vector<Real> up = slot, down = slot;
            up[t.slot] += h, down[t.slot] -= h;
            by[t.slot] = (total(point(up, x)) - total(point(down, x))) / (2 * h);
            done[t.slot] = true;
        }
    }
};

template <class Real> void compare_second_with(Plan& p, const Case& c, const std::string& name) {
    const int n_slot = 2 + 5 * p.plan.knots;
    bevel_layout layout{};
    layout.dtype = c.dtype, layout.outer = c.size[0], layout.channels = c.size[1], layout.inner = c.size[2];
    int64_t stride[3];
    strides(0, c.size, stride);
    Array x(c.dtype, c.size, stride, 0), g = x, a = x, h = x, dx = x;
    std::vector<Bytes> storage = p.storage;
    std::vector<const void*> cotangent;
    std::vector<std::vector<double>> directions;
    std::vector<std::vector<Real>> exact, most;
    for (size_t j = 0; j < p.value.size(); ++j) {
        directions.emplace_back();
        for (int64_t k = 0; k < p.length[j]; ++k) {
            char* const to = storage[j].data() + k * width(p.dtype[j]);
            write(p.dtype[j], to, uniform(-1, 1));
            directions.back().push_back(read(p.dtype[j], to));
        }
        cotangent.push_back(storage[j].data());
        exact.emplace_back(p.length[j], 0), most.emplace_back(p.length[j], 0);
    }
    const double working = c.dtype == BEVEL_F64 ? 1e-7 : 2e-4;  // differences have no more
    for (int64_t k = 0; k < c.size[1]; ++k) {
        const std::vector<Real> slots = p.slots<Real>(k);
        for (int64_t o = 0; o < c.size[0]; ++o)
            for (int64_t i = 0; i < c.size[2]; ++i) {
                double at = 0;
                for (bool edge = true; edge;) {  // the definition's differences must not reach over an edge or a knot
                    at = uniform(-3, 3), edge = false;
                    write(c.dtype, x.at(o, k, i), at);
                    at = read(c.dtype, x.at(o, k, i));
                    for (int j = 0; j < p.plan.knots; ++j) {
                        const double v = std::fabs(static_cast<double>((at - slots[2 + j]) * slots[n_slot]));
                        edge = edge || v < 1e-3 || std::fabs(v - 1) < 1e-3;
                    }
                }
                write(c.dtype, g.at(o, k, i), uniform(-1, 1)), write(c.dtype, a.at(o, k, i), uniform(-1, 1));
            }
    }
    const int code = bevel_second(&p.plan, &layout, c.threads, p.pointer.data(), cotangent.data(), x.data(), g.data(), a.data(), 0,
                                  h.data(), dx.data(), p.gradient_pointer.data());
    if (code != BEVEL_OK) return fail(name + ": " + bevel_message(code));
    for (int64_t k = 0; k < c.size[1]; ++k) {
        const std::vector<Real> slots = p.slots<Real>(k);
        const std::vector<bevel_term> linear = p.linear(k), changes = p.changes(directions, k);
        std::vector<Real> turn(slots.size(), 0);
        for (const bevel_term& t : linear) {
            turn[t.slot] += t.factor * p.at(directions, t.param, k) * (t.slot == n_slot && p.plan.log_n ? slots[n_slot] : 1);
        }
        for (int64_t o = 0; o < c.size[0]; ++o)
            for (int64_t i = 0; i < c.size[2]; ++i) {
                const Real at = read(c.dtype, x.at(o, k, i)), by = read(c.dtype, g.at(o, k, i));
                const Second<Real> f(p, slots, linear, turn, at, read(c.dtype, a.at(o, k, i)));
                const Real n = slots[n_slot], scale = 1 + f.size, got = read(c.dtype, h.at(o, k, i)), bend = read(c.dtype, dx.at(o, k, i));
                const double stored = 2 * epsilon(c.dtype);
                expect(std::fabs(got - f.value) <= working * scale + stored * std::fabs(f.value), name + ": what is by g");
                expect(std::fabs(bend - by * f.slope) <= working * scale * (1 + n) + stored * std::fabs(by * f.slope), name + ": what is by x");
                for (const bevel_term& t : linear) {
                    const bool log_n = t.slot == n_slot && p.plan.log_n;
                    const int64_t to = p.length[t.param] == 1 ? 0 : k;
                    // With log n the cotangent is of log n: by n it falls as 1/n.
                    Real part = f.by[t.slot] * (log_n ? n : 1);
                    if (log_n) part += turn[n_slot] * f.first.by_slot[n_slot];
                    exact[t.param][to] += t.factor * by * part;
                    most[t.param][to] += std::fabs(t.factor) * scale * (1 + n) * (1 + n);
                }
                for (const bevel_term& t : changes) {  // the direction moves with the parameters
                    const int64_t to = p.length[t.param] == 1 ? 0 : k;
                    exact[t.param][to] += t.factor * by * f.first.by_slot[t.slot];
                    most[t.param][to] += std::fabs(t.factor * by) * f.first.by_slot_size[t.slot];
                }
            }
    }
    for (size_t j = 0; j < exact.size(); ++j)
        for (int64_t k = 0; k < p.length[j]; ++k) {
            const Real got = read(p.dtype[j], p.gradient[j].data() + k * width(p.dtype[j]));
            if (!(std::fabs(got - exact[j][k]) <= working * most[j][k] + 1e-6 * std::fabs(exact[j][k])))
                fail(name + ": what is by parameter " + std::to_string(j) + " is " + digits(got) + " instead of " +
                     digits(exact[j][k]));
        }
    const auto again = p.gradient;
    bevel_second(&p.plan, &layout, c.threads, p.pointer.data(), cotangent.data(), x.data(), g.data(), a.data(), 0, g.data(), a.data(),
                 p.gradient_pointer.data());
    expect(again == p.gradient && g.bytes == h.bytes && a.bytes == dx.bytes, name + ": in place of g and a they differ");
}
void compare_second(Plan& p, const Case& c, const std::string& name) {
    c.dtype == BEVEL_F64 ? compare_second_with<long double>(p, c, name) : compare_second_with<double>(p, c, name);
}

void test_second(const Table& table) {
    for (int kernel = BEVEL_SHARP; kernel <= BEVEL_GELU_TANH; ++kernel)
        for (int kind = 0; kind < BENT_KINDS; ++kind)
            for (int dtype = BEVEL_F32; dtype <= BEVEL_BF16; ++dtype) {
                if (skipped()) continue;
                Case c;
                c.dtype = dtype;
                c.size[0] = pick(1, 3), c.size[1] = pick(1, 5), c.size[2] = pick(0, 1) ? 1 : pick(2, 9);
                const int knots = static_cast<int>(pick(1, 3));
                Plan p = random_plan(kernel, kind, knots, c.size[1], pick(0, 1), true, table, 3.3);
                compare_second(p, c, "second pass, " + describe(kernel, kind, knots, c));
            }
}

// Coefficients that are products of two parameters: all passes of every kind, with one knot and with many.
void test_products(const Table& table) {
    for (int kernel = BEVEL_SHARP; kernel <= BEVEL_GELU_TANH; ++kernel)
        for (int kind = 0; kind < BENT_KINDS; ++kind)
            for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype) {
                if (skipped()) continue;
                Case c;
                c.dtype = dtype, c.layout = static_cast<int>(pick(0, 3)), c.shift = pick(0, 3), c.threads = static_cast<int>(pick(1, 2));
                c.size[0] = pick(1, 5), c.size[1] = pick(1, 40), c.size[2] = pick(0, 2) ? pick(1, 9) : 1;
                const int knots = pick(0, 2) ? 1 : static_cast<int>(pick(1, BEVEL_MAX_KNOTS));
                Plan p = random_plan(kernel, kind, knots, c.size[1], pick(0, 1), true, table, 40, true);
                compare(p, c, "products, " + describe(kernel, kind, knots, c));
                if (dtype == BEVEL_F16) continue;
                c.size[1] = pick(1, 5);
                Plan q = random_plan(kernel, kind, static_cast<int>(pick(1, 3)), c.size[1], pick(0, 1), true, table, 3.3, true);
                compare_second(q, c, "second pass of products, " + describe(kernel, kind, q.plan.knots, c));
            }
}

// f(min(gate, limit))·(clamp(up) + offset) and its gradients, where gate's rows and up's are differently far apart.
template <class Real> void compare_pair_with(Plan& p, const Case& c, double limit, double offset, const std::string& name) {
    bevel_layout layout{};
    layout.dtype = c.dtype, layout.outer = c.size[0], layout.channels = c.size[1], layout.inner = c.size[2];
    int64_t stride[3], apart[3];
    strides(c.layout, c.size, stride);
    for (int d = 0; d < 3; ++d) apart[d] = stride[d] * (d == 0 ? 2 : 1);  // as half of a projection lies
    for (int d = 0; d < 3; ++d) layout.x[d] = apart[d], layout.y[d] = layout.g[d] = layout.dx[d] = stride[d];
    Array gate(c.dtype, c.size, apart, c.shift), up(c.dtype, c.size, stride, c.shift), g = up, y = up, dgate = up, dup = up;
    for (int64_t o = 0; o < c.size[0]; ++o)
        for (int64_t k = 0; k < c.size[1]; ++k)
            for (int64_t i = 0; i < c.size[2]; ++i)
                for (Array* const a : {&gate, &up, &g}) write(c.dtype, a->at(o, k, i), uniform(-3, 3));
    const int code = bevel_pair_forward(&p.plan, &layout, c.threads, p.pointer.data(), limit, offset, gate.data(), up.data(), y.data());
    const int back = bevel_pair_backward(&p.plan, &layout, c.threads, p.pointer.data(), limit, offset, gate.data(), up.data(), g.data(),
                                         dgate.data(), dup.data(), p.gradient_pointer.data());
    if (code != BEVEL_OK || back != BEVEL_OK) return fail(name + ": " + bevel_message(code | back));
    const double working = c.dtype == BEVEL_F64 ? 0x1p-53 : 0x1p-24, stored = epsilon(c.dtype), tiny = c.dtype == BEVEL_F16 ? 0x1p-24 : 1e-30;
    const int n_slot = 2 + 5 * p.plan.knots;
    std::vector<std::vector<Real>> exact, most;
    for (size_t j = 0; j < p.value.size(); ++j) exact.emplace_back(p.length[j], 0), most.emplace_back(p.length[j], 0);
    for (int64_t k = 0; k < c.size[1]; ++k) {
        const std::vector<Real> slots = p.slots<Real>(k);
        const std::vector<bevel_term> linear = p.linear(k);
        for (int64_t o = 0; o < c.size[0]; ++o)
            for (int64_t i = 0; i < c.size[2]; ++i) {
                const Real a = read(c.dtype, gate.at(o, k, i)), u = read(c.dtype, up.at(o, k, i)), by = read(c.dtype, g.at(o, k, i));
                const Real factor = std::fmax(-limit, std::fmin(limit, u)) + offset, size = std::fabs(u) + std::fabs(offset);
                const reference::Point<Real> f = reference::at(p.plan.kernel, p.plan.multiplies_cdf, p.plan.knots, slots, std::fmin(a, limit));
                const auto check = [&](Array& got, Real want, Real scale, const char* what) {
                    const Real found = read(c.dtype, got.at(o, k, i));
                    if (!(std::fabs(found - want) <= 32 * working * scale + 2 * stored * std::fabs(want) + tiny))
                        fail(name + ": " + what + " is " + digits(found) + " instead of " + digits(want));
                };
                check(y, f.value * factor, f.size * size, "value");
                check(dgate, a > limit ? 0 : by * factor * f.slope, std::fabs(by) * size * f.slope_size, "dgate");
                check(dup, std::fabs(u) > limit ? 0 : by * f.value, std::fabs(by) * f.size, "dup");
                for (const bevel_term& t : linear) {
                    const Real scale = t.factor * by * factor * (t.slot == n_slot && p.plan.log_n ? slots[n_slot] : 1);
                    const int64_t to = p.length[t.param] == 1 ? 0 : k;
                    exact[t.param][to] += scale * f.by_slot[t.slot];
                    most[t.param][to] += std::fabs(t.factor * by) * size * f.by_slot_size[t.slot] * (t.slot == n_slot && p.plan.log_n ? slots[n_slot] : 1);
                }
            }
    }
    for (size_t j = 0; j < exact.size(); ++j)
        for (int64_t k = 0; k < p.length[j]; ++k) {
            const Real got = read(p.dtype[j], p.gradient[j].data() + k * width(p.dtype[j]));
            if (!(std::fabs(got - exact[j][k]) <= 48 * working * most[j][k] + 0x1p-22 * std::fabs(exact[j][k]) + 1e-30))
                fail(name + ": gradient of parameter " + std::to_string(j) + " is " + digits(got) + " instead of " +
                     digits(exact[j][k]));
        }
}
void compare_pair(Plan& p, const Case& c, double limit, double offset, const std::string& name) {
    c.dtype == BEVEL_F64 ? compare_pair_with<long double>(p, c, limit, offset, name) : compare_pair_with<double>(p, c, limit, offset, name);
}

void test_pairs(const Table& table) {
    for (const int kernel : {BEVEL_SHARP, BEVEL_GAUSSIAN, BEVEL_LOGISTIC, BEVEL_GELU_TANH, BEVEL_BOX})
        for (const int kind : {RAMP, GATE, TAILS, BENDS})
            for (int dtype = BEVEL_F32; dtype <= BEVEL_F16; ++dtype)
                for (int layout = 0; layout < 2; ++layout) {
                    if (skipped()) continue;
                    Case c;
                    c.dtype = dtype, c.layout = layout, c.threads = 1 + layout, c.shift = pick(0, 3);
                    c.size[0] = pick(1, 20), c.size[1] = pick(1, 40), c.size[2] = layout == 1 ? 1 : pick(1, 40);
                    const int knots = pick(0, 2) ? 1 : 2;
                    Plan p = random_plan(kernel, kind, knots, c.size[1], pick(0, 1), pick(0, 3), table, 40);
                    const double limit = pick(0, 1) ? 1.5 : std::numeric_limits<double>::infinity();
                    compare_pair(p, c, limit, pick(0, 1) ? 1 : 0, "pair, " + describe(kernel, kind, knots, c));
                }
}

// Few elements after each channel, on either side of every limit between rows with repeated coefficients and runs: all passes.
void test_short_runs(const Table& table) {
    const int kernels[] = {BEVEL_SHARP, BEVEL_GAUSSIAN, BEVEL_LOGISTIC, BEVEL_LAPLACE, BEVEL_BOX};
    const auto check = [&](int64_t outer, int64_t channels, int64_t inner) {
        Case c;
        c.dtype = static_cast<int>(pick(0, 3)), c.shift = pick(0, 3), c.threads = static_cast<int>(pick(1, 2));
        c.size[0] = outer, c.size[1] = channels, c.size[2] = inner;
        const int kernel = kernels[pick(0, 4)], kind = static_cast<int>(pick(0, BENT_KINDS - 1)), knots = static_cast<int>(pick(1, 3));
        const auto plan = [&](double sharpest, bool products) {  // with a parameter a channel
            for (;;) {
                Plan p = random_plan(kernel, kind, knots, c.size[1], true, true, table, sharpest, products);
                if (std::count(p.length.begin(), p.length.end(), c.size[1]) != 0) return p;
            }
        };
        const std::string name = ", short runs, " + describe(kernel, kind, knots, c);
        Plan p = plan(20000, false);
        compare(p, c, "both passes" + name);
        if (outer * channels * inner > 4000) return;
        Plan pair = plan(40, false), monotone = monotone_plan(BEVEL_GAUSSIAN, kind % 2, channels, kind % 3 ? 5 : 20000, table);
        compare_pair(pair, c, 1.5, 1, "pair" + name);
        compare_inverse(monotone, c, "inverse" + name);
        if (c.dtype == BEVEL_F16) return;
        c.size[1] = 2;
        Plan twice = plan(3.3, pick(0, 1));
        compare_second(twice, c, "second pass" + name);
    };
    for (int64_t inner = 1; inner <= 40; ++inner)
        for (const int64_t outer : {int64_t{3}, int64_t{4}, inner / 2, (inner + 1) / 2, inner - 1, inner})
            if (!skipped()) check(std::max<int64_t>(outer, 1), pick(2, 9), inner);
    for (const int64_t channels : {2047, 2048, 2049})
        if (!skipped()) check(5, channels, 8);
}

void test_errors(const Table& table) {
    Plan p = random_plan(BEVEL_GAUSSIAN, RAMP, 1, 4, true, true, table);
    bevel_layout layout{BEVEL_F32, 0, 1, 4, 1, {}, {}, {}, {}};
    const auto code = [&] { return bevel_forward(&p.plan, &layout, 1, p.pointer.data(), nullptr, nullptr); };
    p.constant[3] = 1;  // certainly a ramp
    p.plan.abi = 0;
    expect(code() == BEVEL_BAD_ABI, "another ABI is refused");
    p.plan.abi = BEVEL_ABI, p.plan.knots = 9;
    expect(code() == BEVEL_BAD_PLAN, "nine knots are refused");
    p.plan.knots = 1, p.plan.kernel = 99;
    expect(code() == BEVEL_BAD_KERNEL, "an unknown kernel is refused");
    p.plan.kernel = BEVEL_CAUCHY;
    expect(code() == BEVEL_BAD_KERNEL, "cauchy with a ramp is refused");
    p.plan.kernel = BEVEL_STUDENT, p.plan.bends = 1, p.constant.resize(10);
    expect(code() == BEVEL_BAD_KERNEL, "student with bends is refused");
    p.plan.bends = 0;
    const bevel_product unknown{0, 0, 60, 0, 1};
    p.plan.kernel = BEVEL_GAUSSIAN, p.plan.product = &unknown, p.plan.products = 1;
    expect(code() == BEVEL_BAD_PLAN, "a product with an unknown parameter is refused");
    p.plan.products = 0, layout.dtype = 7;
    expect(code() == BEVEL_BAD_LAYOUT, "an unknown dtype is refused");
}

}  // namespace

int main(int count, char** argument) {
    if (count > 1) thin = std::max(1L, std::atol(argument[1]));
    dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);  // what a process with torch in it would have; without: one thread
    const Table table;
    test_everything(table);
    test_sizes(table);
    test_large(table);
    test_special(table);
    test_tails();
    test_tails_of_bends();
    test_far_out();
    test_inverse(table);
    test_gelu_tanh(table);
    test_bends(table);
    test_second(table);
    test_products(table);
    test_pairs(table);
    test_short_runs(table);
    test_errors(table);
    std::printf("%s, openmp %s: %d failures\n", bevel_isa(), std::strcmp(bevel_openmp(), "none") ? "found" : "none", failures);
    const char* const wish = std::getenv("BEVEL_ISA");
    if (wish != nullptr && std::strcmp(wish, bevel_isa()) != 0) std::printf("this processor does not run %s\n", wish);
    return failures != 0;
}
