// The single-precision form of a tabulated kernel: excess on 32 equal panels, by Chebyshev interpolation.
#include <cmath>

#include "bevel_native.h"

namespace {

constexpr int COLUMNS = 11, PANELS = 32, TERMS = BEVEL_TABLE_SINGLE / PANELS;
constexpr double PI = 3.14159265358979323846;

double evaluate(const double* table, int panels, int form, double v) {
    const double scaled = v * panels;
    const int cell = scaled < panels ? static_cast<int>(scaled) : panels - 1;
    const double t = 2 * (scaled - cell) - 1;
    const double* c = table + COLUMNS * (static_cast<long>(form) * panels + cell);
    double total = c[COLUMNS - 1];
    for (int k = COLUMNS - 2; k >= 0; --k) total = total * t + c[k];
    return total;
}

}  // namespace

int32_t bevel_table_floats(void) { return BEVEL_TABLE_SINGLE; }

int bevel_table_single(const double* table, int32_t panels, float* out) {
    double worst = 0, peak = 0;
    for (int p = 0; p < PANELS; ++p) {
        double value[TERMS], chebyshev[TERMS], power[TERMS] = {}, before[TERMS] = {}, current[TERMS] = {};
        for (int i = 0; i < TERMS; ++i)
            value[i] = evaluate(table, panels, 2, (p + (std::cos(PI * (i + 0.5) / TERMS) + 1) / 2) / PANELS);
        for (int k = 0; k < TERMS; ++k) {
            chebyshev[k] = 0;
            for (int i = 0; i < TERMS; ++i) chebyshev[k] += value[i] * std::cos(PI * k * (i + 0.5) / TERMS);
            chebyshev[k] *= (k == 0 ? 1.0 : 2.0) / TERMS;
        }
        before[0] = current[1] = 1;  // T_0 and T_1 in powers of t
        for (int k = 0; k < TERMS; ++k) {
            double next[TERMS] = {};
            for (int j = 0; j < TERMS; ++j) {
                power[j] += chebyshev[k] * before[j];
                next[j] = (j > 0 ? 2 * current[j - 1] : 0) - before[j];
            }
            for (int j = 0; j < TERMS; ++j) before[j] = current[j], current[j] = next[j];
        }
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
