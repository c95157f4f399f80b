// Tables of polynomials on equal panels, by Chebyshev interpolation: the single-precision form of a tabulated kernel, and the
// tail integrals of the one that GELU by tanh comes from.
#include <cmath>

#include "task.h"

namespace {

constexpr int COLUMNS = 11, PANELS = 32, TERMS = BEVEL_TABLE_SINGLE / PANELS;
constexpr double PI = 3.14159265358979323846;

// The coefficients, by powers of t, of the polynomial through `value` at t = cos(π(i + ½)/terms).
template <int N> void interpolate(const double (&value)[N], double (&power)[N]) {
    double before[N] = {}, current[N] = {};
    before[0] = current[1] = 1;  // T_0 and T_1 in powers of t
    for (double& p : power) p = 0;
    for (int k = 0; k < N; ++k) {
        double next[N] = {}, chebyshev = 0;
        for (int i = 0; i < N; ++i) chebyshev += value[i] * std::cos(PI * k * (i + 0.5) / N);
        chebyshev *= (k == 0 ? 1.0 : 2.0) / N;
        for (int j = 0; j < N; ++j) {
            power[j] += chebyshev * before[j];
            next[j] = (j > 0 ? 2 * current[j - 1] : 0) - before[j];
        }
        for (int j = 0; j < N; ++j) before[j] = current[j], current[j] = next[j];
    }
}
template <int N> double node(int i) { return std::cos(PI * (i + 0.5) / N); }

double evaluate(const double* table, int panels, int form, double v) {
    const double scaled = v * panels;
    const int cell = scaled < panels ? static_cast<int>(scaled) : panels - 1;
    const double t = 2 * (scaled - cell) - 1;
    const double* c = table + COLUMNS * (static_cast<long>(form) * panels + cell);
    double total = c[COLUMNS - 1];
    for (int k = COLUMNS - 2; k >= 0; --k) total = total * t + c[k];
    return total;
}

// ∫ t^form·σ(-h(v + t))/σ(-h(v)) over t > 0, with h = C·v·(1 + K·v²), by the double exponential rule: in y = h'(v)·t it falls as
// e^(-y) or faster.
double tanh_integral(double v, int form) {
    constexpr double C = 1.59576912160573071176, K = 0.044715;
    const double rate = C * (1 + 3 * K * v * v), start = std::exp(-C * v * (1 + K * v * v));
    double total = 0;
    for (int k = -80; k <= 72; ++k) {
        const double q = k / 16.0, y = std::exp(q - std::exp(-q)), t = y / rate;
        const double fall = std::exp(-C * t * (1 + K * (3 * v * v + 3 * v * t + t * t)));
        total += fall * (1 + start) / (1 + start * fall) * (form == 0 ? 1 : t) * t * (1 + std::exp(-q)) / 16;
    }
    return total;
}

template <int N, class Put> void tanh_panels(int panels, Put put) {
    for (int form = 0; form < 2; ++form)
        for (int p = 0; p < panels; ++p) {
            double value[N], power[N];
            for (int i = 0; i < N; ++i) {
                const double s = (p + (node<N>(i) + 1) / 2) / panels;
                value[i] = tanh_integral(3 * s / (1 - s), form);
            }
            interpolate(value, power);
            for (int k = 0; k < N; ++k) put(form, p, k, power[k]);
        }
}

}  // namespace

const bevel::TanhTables& bevel::tanh_tables() {
    static const TanhTables made = [] {
        TanhTables all;
        tanh_panels<TANH_TERMS>(TANH_PANELS, [&](int form, int panel, int k, double c) {
            all.wide[(form * TANH_PANELS + panel) * TANH_TERMS + k] = c;
        });
        tanh_panels<TANH_TERMS_SINGLE>(TANH_PANELS_SINGLE, [&](int form, int panel, int k, double c) {
            all.single[(form * TANH_TERMS_SINGLE + k) * TANH_PANELS_SINGLE + panel] = static_cast<float>(c);
        });
        return all;
    }();
    return made;
}

int32_t bevel_table_floats(void) { return BEVEL_TABLE_SINGLE; }

int bevel_table_single(const double* table, int32_t panels, float* out) {
    double worst = 0, peak = 0;
    for (int p = 0; p < PANELS; ++p) {
        double value[TERMS], power[TERMS];
        for (int i = 0; i < TERMS; ++i) value[i] = evaluate(table, panels, 2, (p + (node<TERMS>(i) + 1) / 2) / PANELS);
        interpolate(value, power);
        for (int k = 0; k < TERMS; ++k) out[k * PANELS + p] = static_cast<float>(power[k]);
        for (int i = 0; i <= 20; ++i) {  // the density is its second derivative, the least accurate of the three
            const double t = -1 + 0.1 * i, v = (p + (t + 1) / 2) / PANELS;
            double density = 0;
            for (int k = TERMS - 1; k >= 2; --k) density = density * t + k * (k - 1) * power[k];
            density *= 4.0 * PANELS * PANELS;
            const double exact = evaluate(table, panels, 0, v);
            worst = std::fmax(worst, std::fabs(density - exact));
            peak = std::fmax(peak, std::fabs(exact));
        }
    }
    return worst <= 2e-7 * peak;
}
