// libnvrtc.so.13 on the CPU: g++ compiles device code into a shared object, whose path stands in
// for the cubin. build.py says by which command, and where the objects are kept.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
enum Status { SUCCESS = 0, COMPILATION = 6, NAME_UNKNOWN = 9 };
constexpr char IMAGE_PREFIX[] = "CUDA_ON_CPU:";  // read by launch.cpp
constexpr int ARCHITECTURE = 90;

struct Program {
  std::string source, log, image;
  std::map<std::string, std::string> headers;
  std::vector<std::string> expressions;
  std::map<std::string, std::string> lowered_names;
};

std::string environment(const char* name) {
  const char* text = getenv(name);
  return text ? text : "";
}
bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }
bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}
std::string in_quotes(const std::string& text) { return " '" + text + "'"; }

std::string without_comments(const std::string& source) {
  std::string result;
  for (size_t i = 0; i < source.size();) {
    size_t end = i + 1;
    if (!source.compare(i, 2, "//")) end = std::min(source.find('\n', i), source.size());
    if (!source.compare(i, 2, "/*"))
      end = std::min(source.find("*/", i + 2), source.size() - 2) + 2;
    if (end == i + 1)
      result += source[i];
    else
      result.append(std::count(&source[i], &source[end], '\n'), '\n');  // line numbers stay
    i = end;
  }
  return result;
}

// g++ takes definitions and CuPy's own headers; those of CUDA are replaced by include/.
std::string translate_options(int count, const char** options) {
  std::string flags;
  for (int i = 0; i < count; ++i) {
    std::string option = options[i];
    bool of_cuda =
        contains(option, "_cccl") || contains(option, "/cuda") || contains(option, "nvidia");
    if (starts_with(option, "-D") || starts_with(option, "-U")) flags += in_quotes(option);
    if (starts_with(option, "-I") && !of_cuda) flags += in_quotes(option);
    if (starts_with(option, "--define-macro=")) flags += in_quotes("-D" + option.substr(15));
  }
  return flags;
}

// Dynamic shared memory has an address only when the kernel runs.
std::string with_dynamic_shared_memory(const std::string& source) {
  static const std::regex declaration(
      R"(extern\s+__shared__\s+([\w:\s]+?)\s*(?:__align__\(\d+\)\s*)?(\w+)\s*\[\s*\]\s*;)");
  return std::regex_replace(source, declaration, "$1 *$2 = ($1 *)standin_builtins.dynamic_shared;");
}

// The entry points by which launch.cpp calls the kernels.
std::string launchers(Program& program, const std::string& source) {
  static const std::string bounds =
      R"((?:__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*)?)";
  static const std::string kernel =
      R"(__global__\s+(?:void\s+)?)" + bounds + R"((?:void\s+)?(\w+)\s*\()";
  static const std::regex any_kernel(kernel), c_kernel(R"(extern\s*"C"\s*)" + kernel);
  static const std::regex c_block(R"(extern\s*"C"\s*\{)");
  static const std::regex barriers(
      R"(__syncthreads|__syncwarp|_sync\s*\(|__activemask|cooperative_groups|__reduce_)");
  std::map<std::string, std::string> symbols;
  const std::regex& pattern = std::regex_search(source, c_block) ? any_kernel : c_kernel;
  for (std::sregex_iterator match(source.begin(), source.end(), pattern), end; match != end;
       ++match)
    symbols[(*match)[1]] = (*match)[1];
  for (size_t i = 0; i < program.expressions.size(); ++i) {
    std::string symbol = "standin_expression_" + std::to_string(i);
    program.lowered_names[program.expressions[i]] = symbol;
    symbols[symbol] = program.expressions[i];
  }
  std::string text;
  for (auto& [symbol, expression] : symbols)
    text += "STANDIN_KERNEL(" + symbol + ", " + expression + ")\n";
  if (std::regex_search(source, barriers))
    text += "STANDIN_EXPORT int standin_meets_at_barriers;\nint standin_meets_at_barriers = 1;\n";
  return text;
}

std::string hash_of(const std::string& text) {
  char name[33];
  std::hash<std::string> hash;
  snprintf(name, sizeof name, "%016zx%016zx", hash(text), hash("second half\n" + text));
  return name;
}
std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Status compile(Program& program, const std::string& text, std::string flags) {
  std::string command = environment("CUDA_ON_CPU_COMPILE");
  std::string headers;
  for (auto& [name, content] : program.headers) headers += name + "\n" + content;
  std::string stem =
      environment("CUDA_ON_CPU_KERNELS") + "/" + hash_of(text + flags + command + headers);
  std::string object = stem + ".so";
  program.image = IMAGE_PREFIX + object;
  if (std::filesystem::exists(object)) return SUCCESS;
  for (auto& [name, content] : program.headers) {
    std::filesystem::path path = stem + ".include/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
  }
  if (!program.headers.empty()) flags += in_quotes("-I" + stem + ".include");
  // processes may compile the same kernel at the same time: the last one wins, with the same object
  std::string unique = stem + "." + std::to_string(getpid());
  std::ofstream(unique + ".cpp") << text;
  command += flags + " -shared" + in_quotes(unique + ".cpp") + " -o" + in_quotes(unique + ".so") +
             " 2>" + in_quotes(unique + ".log");
  bool failed = system(command.c_str());
  program.log = read(unique + ".log");
  unlink((unique + ".log").c_str());
  if (failed) {
    rename((unique + ".cpp").c_str(), (stem + ".failed.cpp").c_str());
    return COMPILATION;
  }
  if (environment("CUDA_ON_CPU_KEEP_SOURCES") == "1")
    rename((unique + ".cpp").c_str(), (stem + ".cpp").c_str());
  else
    unlink((unique + ".cpp").c_str());
  rename((unique + ".so").c_str(), object.c_str());
  return SUCCESS;
}

int copy_size(const std::string& text, size_t* out) { return *out = text.size() + 1, SUCCESS; }
int copy_text(const std::string& text, char* out) {
  memcpy(out, text.c_str(), text.size() + 1);
  return SUCCESS;
}
}  // namespace

EXPORT const char* nvrtcGetErrorString(int status) {
  return status == COMPILATION ? "NVRTC_ERROR_COMPILATION"
         : status              ? "NVRTC_ERROR"
                               : "NVRTC_SUCCESS";
}
EXPORT int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 2, SUCCESS; }
EXPORT int nvrtcGetNumSupportedArchs(int* out) { return *out = 1, SUCCESS; }
EXPORT int nvrtcGetSupportedArchs(int* out) { return *out = ARCHITECTURE, SUCCESS; }
EXPORT int nvrtcCreateProgram(Program** out, const char* source, const char*, int count,
                              const char** headers, const char** names) {
  *out = new Program{source, {}, {}, {}, {}, {}};
  for (int i = 0; i < count; ++i) (*out)->headers[names[i]] = headers[i];
  return SUCCESS;
}
EXPORT int nvrtcDestroyProgram(Program** program) {
  delete *program;
  *program = nullptr;
  return SUCCESS;
}
EXPORT int nvrtcAddNameExpression(Program* program, const char* expression) {
  program->expressions.push_back(expression);
  return SUCCESS;
}
EXPORT int nvrtcGetLoweredName(Program* program, const char* expression, const char** out) {
  auto found = program->lowered_names.find(expression);
  if (found == program->lowered_names.end()) return NAME_UNKNOWN;
  *out = found->second.c_str();
  return SUCCESS;
}
EXPORT int nvrtcCompileProgram(Program* program, int count, const char** options) {
  std::string source = with_dynamic_shared_memory(without_comments(program->source));
  std::string entries = launchers(*program, source);
  if (entries.empty()) return SUCCESS;  // CuPy compiles an empty program to learn its image
  // a kernel of the user has to include itself what is CuPy's
  bool generated = contains(source, "#include <cupy/carray.cuh>");
  std::string prelude = generated ? "cupy_kernels.h" : "device_code.h";
  std::string text = "#include \"" + prelude + "\"\n#line 1 \"kernel.cu\"\n" + source +
                     "\n#line 1 \"launchers\"\n" + entries;
  return compile(*program, text, translate_options(count, options));
}
EXPORT int nvrtcGetPTXSize(Program* program, size_t* out) { return copy_size(program->image, out); }
EXPORT int nvrtcGetPTX(Program* program, char* out) { return copy_text(program->image, out); }
EXPORT int nvrtcGetCUBINSize(Program* program, size_t* out) {
  return copy_size(program->image, out);
}
EXPORT int nvrtcGetCUBIN(Program* program, char* out) { return copy_text(program->image, out); }
EXPORT int nvrtcGetProgramLogSize(Program* program, size_t* out) {
  return copy_size(program->log, out);
}
EXPORT int nvrtcGetProgramLog(Program* program, char* out) { return copy_text(program->log, out); }
EXPORT int nvrtcGetLTOIRSize(Program*, size_t* out) { return *out = 0, SUCCESS; }
EXPORT int nvrtcGetLTOIR(Program*, char*) { return SUCCESS; }
