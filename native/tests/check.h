// The test harness of native/tests: TEST(name) { CHECK(...); } in any file, run by main.cpp. Knows nothing of what is tested.
#pragma once
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace stillroom::testing {

struct Test {
    const char* name;
    void (*run)();
};

std::vector<Test>& tests();
int add_test(const char* name, void (*run)());
void fail(const char* file, int line, const std::string& message);
// A fresh folder that is removed when the tests end.
std::string temporary_folder();

template <typename T>
std::string show(const T& value) {
    std::ostringstream stream;
    stream.precision(9);
    stream << value;
    return stream.str();
}

}  // namespace stillroom::testing

#define TEST(name)                                                                            \
    static void test_##name();                                                                \
    static const int added_##name = ::stillroom::testing::add_test(#name, test_##name);       \
    [[maybe_unused]] static const int* used_##name = &added_##name;                           \
    static void test_##name()

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) ::stillroom::testing::fail(__FILE__, __LINE__, #condition);         \
    } while (0)

#define CHECK_EQUAL(actual, expected)                                                         \
    do {                                                                                      \
        const auto actual_ = (actual);                                                        \
        const auto expected_ = (expected);                                                    \
        if (!(actual_ == expected_))                                                          \
            ::stillroom::testing::fail(__FILE__, __LINE__,                                    \
                                       std::string(#actual " == " #expected ": received ") +  \
                                           ::stillroom::testing::show(actual_) +              \
                                           ", expected " + ::stillroom::testing::show(expected_)); \
    } while (0)

// |actual - expected| <= tolerance; a NaN on either side fails.
#define CHECK_NEAR(actual, expected, tolerance)                                               \
    do {                                                                                      \
        const double actual_ = static_cast<double>(actual);                                   \
        const double expected_ = static_cast<double>(expected);                               \
        if (!(std::fabs(actual_ - expected_) <= static_cast<double>(tolerance)))              \
            ::stillroom::testing::fail(__FILE__, __LINE__,                                    \
                                       std::string(#actual " near " #expected ": received ") + \
                                           ::stillroom::testing::show(actual_) +              \
                                           ", expected " + ::stillroom::testing::show(expected_)); \
    } while (0)

// The statement throws the given exception type.
#define CHECK_THROWS(statement, exception)                                                    \
    do {                                                                                      \
        bool thrown_ = false;                                                                 \
        try {                                                                                 \
            statement;                                                                        \
        } catch (const exception&) {                                                          \
            thrown_ = true;                                                                   \
        }                                                                                     \
        if (!thrown_) ::stillroom::testing::fail(__FILE__, __LINE__, #statement " throws " #exception); \
    } while (0)
