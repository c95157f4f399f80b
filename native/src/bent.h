// The loops of functions with bends, which bent_engine.cpp has.
#pragma once

#include "bends.h"
#include "second_many.h"

namespace bevel::BEVEL_ISA {

template <class T> using Loop = void (*)(const Task&, Strip<T>);
template <class T> using SecondLoop = void (*)(const Task&, const Second&, const SecondStrip<T>&);

Loop<float> bent_loop(const Task& task, bool back, float);
Loop<double> bent_loop(const Task& task, bool back, double);
SecondLoop<float> bent_second_loop(bool across, float);
SecondLoop<double> bent_second_loop(bool across, double);

}  // namespace bevel::BEVEL_ISA
