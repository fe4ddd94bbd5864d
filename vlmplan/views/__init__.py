"""Documents for people: terminal text, and progress while they are made."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.views.brief import expected as expected, print_brief as print_brief, print_why as print_why, unsure as unsure
    from vlmplan.views.comparison import print_comparison as print_comparison
    from vlmplan.views.demo import print_demo as print_demo
    from vlmplan.views.deployment import print_answer as print_answer, print_export as print_export, print_report as print_report, progress as progress
    from vlmplan.views.doctor import print_checkup as print_checkup
    from vlmplan.views.estimate import print_estimate as print_estimate
    from vlmplan.views.fit import EQUATIONS as EQUATIONS, print_fit as print_fit
    from vlmplan.views.plan import FIGURES as FIGURES, FRONT_ROWS as FRONT_ROWS, choice_lines as choice_lines, front_about_choice as front_about_choice, print_plan as print_plan, print_recheck as print_recheck, scores_line as scores_line, sensitivity as sensitivity, sentence as sentence, tokens_each as tokens_each
    from vlmplan.views.plots import check_picture as check_picture, plot_front as plot_front, plot_law as plot_law
    from vlmplan.views.profile import measuring as measuring, print_adjusted as print_adjusted, print_profiled as print_profiled, print_verdict as print_verdict
    from vlmplan.views.service import overload_words as overload_words
    from vlmplan.views.text import knee_line as knee_line, load_line as load_line, memory_line as memory_line, overhead_name as overhead_name, part_times as part_times, percent as percent, print_device as print_device, print_document as print_document, print_shelf as print_shelf, print_tokens as print_tokens, time_range as time_range, tokens as tokens
    from vlmplan.views.training import print_evaluation as print_evaluation, print_sweep as print_sweep, print_token_curve as print_token_curve, print_training as print_training, sweep_table as sweep_table, voice as voice

__getattr__, __all__ = face(
    __name__,
    {
        'brief': ('expected', 'print_brief', 'print_why', 'unsure'),
        'comparison': ('print_comparison',),
        'demo': ('print_demo',),
        'deployment': ('print_answer', 'print_export', 'print_report', 'progress'),
        'doctor': ('print_checkup',),
        'estimate': ('print_estimate',),
        'fit': ('EQUATIONS', 'print_fit'),
        'plan': ('FIGURES', 'FRONT_ROWS', 'choice_lines', 'front_about_choice', 'print_plan', 'print_recheck', 'scores_line', 'sensitivity', 'sentence', 'tokens_each'),
        'plots': ('check_picture', 'plot_front', 'plot_law'),
        'profile': ('measuring', 'print_adjusted', 'print_profiled', 'print_verdict'),
        'service': ('overload_words',),
        'text': ('knee_line', 'load_line', 'memory_line', 'overhead_name', 'part_times', 'percent', 'print_device', 'print_document', 'print_shelf', 'print_tokens', 'time_range', 'tokens'),
        'training': ('print_evaluation', 'print_sweep', 'print_token_curve', 'print_training', 'sweep_table', 'voice'),
    },
)
