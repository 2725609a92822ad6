# The same loops are compiled once per instruction set and chosen at run time (vector.cpp), so the
# flags stand on these files alone. They include nothing but <cstdint>, intrinsics and each other: an
# inline function of a library compiled here could be the copy the linker keeps for everybody.
# -O2 with the vectoriser: -O3 unrolls every remainder loop and is half as large again, not faster.
set(loops -O2 -ftree-vectorize -fvect-cost-model=dynamic -fopenmp-simd -fno-math-errno
          -fno-trapping-math -ffp-contract=fast -Wno-psabi)
set(folder ${CMAKE_CURRENT_LIST_DIR})
function(compile_loops name)
  set(options ${loops} ${ARGN})
  set_source_files_properties(${folder}/vector_${name}.cpp ${folder}/sdpa_${name}.cpp
                              ${folder}/gate_${name}.cpp ${folder}/train_${name}.cpp PROPERTIES COMPILE_OPTIONS "${options}")
endfunction()
compile_loops(baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  compile_loops(avx2 -mavx2 -mfma)
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
  compile_loops(avx512 ${avx512})
  set_source_files_properties(${folder}/gate_avx512_bf16.cpp ${folder}/train_avx512_bf16.cpp PROPERTIES COMPILE_OPTIONS
                              "${loops};${avx512};-mavx512bf16")
  # GCC 12 takes the placeholder operand inside of its own intrinsics for an uninitialised variable.
  list(APPEND loops -Wno-uninitialized -Wno-maybe-uninitialized)
  set_source_files_properties(${folder}/direct_tiles_avx2.cpp ${folder}/winograd_avx2.cpp PROPERTIES COMPILE_OPTIONS
                              "${loops};-mavx2;-mfma")
  set_source_files_properties(${folder}/direct_tiles_avx512.cpp PROPERTIES COMPILE_OPTIONS
                              "${loops};-mavx512f;-mfma;-mprfchw")
  set_source_files_properties(${folder}/winograd_avx512.cpp PROPERTIES COMPILE_OPTIONS
                              "${loops};-mavx512f;-mfma")
  set_source_files_properties(${folder}/direct_tiles_avx512_bf16.cpp
                              ${folder}/winograd_avx512_bf16.cpp PROPERTIES COMPILE_OPTIONS
    "${loops};-mavx512f;-mavx512bw;-mavx512vl;-mavx512bf16;-mfma;-mprfchw")
endif()
file(GLOB loop_files ${folder}/*_baseline.cpp ${folder}/*_avx*.cpp)
set_source_files_properties(${loop_files} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
