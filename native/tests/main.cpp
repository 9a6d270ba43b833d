// Runs every TEST, or those whose name contains the first argument; the last line is "N passed, M failed".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>

#include "check.h"

namespace stillroom::testing {

namespace {
int failures = 0;
std::vector<std::string> folders;
}  // namespace

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

int add_test(const char* name, void (*run)()) {
    tests().push_back({name, run});
    return 0;
}

void fail(const char* file, int line, const std::string& message) {
    ++failures;
    std::printf("%s:%d: %s\n", file, line, message.c_str());
}

std::string temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "stillroom-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    folders.push_back(name);
    return name;
}

}  // namespace stillroom::testing

int main(int count, char** arguments) {
    using namespace stillroom::testing;
    int passed = 0;
    int failed = 0;
    for (const Test& test : tests()) {
        if (count > 1 && !std::strstr(test.name, arguments[1])) continue;
        const int before = failures;
        try {
            test.run();
        } catch (const std::exception& error) {
            fail(test.name, 0, std::string("uncaught: ") + error.what());
        }
        if (failures == before) {
            ++passed;
        } else {
            ++failed;
            std::printf("failed: %s\n", test.name);
        }
        std::fflush(stdout);
    }
    for (const std::string& folder : folders) std::filesystem::remove_all(folder);
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
