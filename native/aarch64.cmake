# Cross build for the NEON test:
#     cmake -S native -B build/neon -DCMAKE_TOOLCHAIN_FILE=aarch64.cmake -DBEVEL_TEST=ON
#     cmake --build build/neon && ctest --test-dir build/neon      (Debian: g++-aarch64-linux-gnu, qemu-user)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
