# The same loops are compiled once per instruction set and chosen at run time (vector.cpp), so the
# flags stand on these files alone. They include nothing but <cstdint>, intrinsics and each other: an
# inline function of a library compiled here could be the copy the linker keeps for everybody.
# -O2 with the vectoriser: -O3 unrolls every remainder loop and is half as large again, not faster.
set(loops -O2 -ftree-vectorize -fvect-cost-model=dynamic -fopenmp-simd -fno-math-errno
          -fno-trapping-math -ffp-contract=fast -Wno-psabi)
set(folder ${CMAKE_CURRENT_LIST_DIR})
set_source_files_properties(${folder}/vector_baseline.cpp ${folder}/gate_baseline.cpp
                            PROPERTIES COMPILE_OPTIONS "${loops}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${folder}/vector_avx2.cpp ${folder}/gate_avx2.cpp PROPERTIES
                              COMPILE_OPTIONS "${loops};-mavx2;-mfma")
  set(avx512 "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mfma;-mprefer-vector-width=512")
  set_source_files_properties(${folder}/vector_avx512.cpp ${folder}/gate_avx512.cpp PROPERTIES
                              COMPILE_OPTIONS "${loops};${avx512}")
  set_source_files_properties(${folder}/gate_avx512_bf16.cpp PROPERTIES
                              COMPILE_OPTIONS "${loops};${avx512};-mavx512bf16")
endif()
